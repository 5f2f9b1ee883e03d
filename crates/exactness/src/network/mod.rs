//! Hosts on one machine: network namespaces, and between them a switch that loses, delays and cuts.
//!
//! The switch is in this process, so nothing of the kernel is needed but namespaces and tunnels. Each
//! host has one interface, `10.9.0.N`; this process is `10.9.0.254` and reaches everybody, always.

mod isolated;
mod switch;

use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use tappers::{Interface, Tun};

pub use self::isolated::isolated;
pub use self::switch::Link;
use self::switch::Switch;
use crate::job_process::wait_for;

/// This process in the network.
const OBSERVER: u8 = 254;

/// Packets of a host are large: each costs a turn through this process.
const MTU: &str = "32000";

/// How the kernel calls the state of a socket that listens.
const LISTENING: &str = "0A";

/// Some hosts, which are gone with it.
pub struct Network {
    switch: Arc<Switch>,
    hosts: Vec<Host>,
}

/// A network namespace, for as long as there is a process in it.
struct Host {
    process: Child,
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Network {
    /// So many hosts, numbered from 1, that reach each other.
    ///
    /// # Panics
    ///
    /// If this process is not [`isolated`] from the network of the machine.
    pub fn new(hosts: u8) -> Self {
        let observer = tunnel(OBSERVER);
        configure(OBSERVER, &[]);
        let mut tunnels = vec![(OBSERVER, observer)];
        let mut all = Vec::new();
        for host in 1..=hosts {
            let process = Command::new("unshare")
                .args(["--net", "sleep", "infinity"])
                .stdin(Stdio::null())
                .spawn()
                .expect("a network namespace");
            let namespace = format!("/proc/{}/ns/net", process.id());
            let own = std::fs::read_link("/proc/self/ns/net").expect("a namespace");
            wait_for("a network namespace", || {
                let other = std::fs::read_link(&namespace).ok()?;
                (other != own).then_some(())
            });
            tunnels.push((host, tunnel(host)));
            let pid = process.id().to_string();
            ip(&[], &["link", "set", &name(host), "netns", &pid]);
            configure(host, &enter(process.id()));
            all.push(Host { process });
        }
        Network {
            switch: Switch::start(tunnels),
            hosts: all,
        }
    }

    /// The address of a host.
    pub fn address(host: u8) -> String {
        format!("10.9.0.{host}")
    }

    /// A command that runs a program on a host.
    ///
    /// # Panics
    ///
    /// If there is no such host.
    pub fn command(&self, host: u8, program: &std::path::Path) -> Command {
        let enter = enter(self.hosts[usize::from(host) - 1].process.id());
        let mut command = Command::new(&enter[0]);
        command.args(&enter[1..]).arg(program);
        command
    }

    /// How packets go between two hosts from now on, both ways.
    pub fn set(&self, a: u8, b: u8, link: Link) {
        self.switch.set(a, b, link);
    }

    /// How packets go between all hosts from now on.
    pub fn set_all(&self, link: Link) {
        let hosts = self.hosts.len() as u8;
        for a in 1..=hosts {
            for b in a + 1..=hosts {
                self.set(a, b, link);
            }
        }
    }

    /// The ports on which somebody listens on a host.
    ///
    /// # Panics
    ///
    /// If there is no such host.
    pub fn listening(&self, host: u8) -> Vec<u16> {
        let pid = self.hosts[usize::from(host) - 1].process.id();
        let tables = ["tcp", "tcp6"].map(|table| {
            let path = format!("/proc/{pid}/net/{table}");
            std::fs::read_to_string(path).expect("a table of connections")
        });
        let lines = tables.iter().flat_map(|table| table.lines().skip(1));
        let ports = lines.filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let (address, state) = (fields.next()?, fields.nth(1)?);
            let (_, port) = address.rsplit_once(':')?;
            (state == LISTENING).then(|| u16::from_str_radix(port, 16).ok())?
        });
        ports.collect()
    }

    /// Packets that went from one host to another, and those that were lost.
    pub fn packets(&self, from: u8, to: u8) -> (u64, u64) {
        self.switch.packets(from, to)
    }
}

fn name(host: u8) -> String {
    format!("host{host}")
}

fn tunnel(host: u8) -> Tun {
    let interface = Interface::new(name(host)).expect("a short name");
    Tun::new_named(interface).expect("a tunnel")
}

/// The beginning of a command in the network namespace of a process.
fn enter(pid: u32) -> Vec<String> {
    let namespace = format!("--net=/proc/{pid}/ns/net");
    ["nsenter", &namespace, "--"].map(str::to_owned).to_vec()
}

fn configure(host: u8, enter: &[String]) {
    let address = format!("{}/24", Ipv4Addr::new(10, 9, 0, host));
    let name = name(host);
    ip(enter, &["link", "set", "lo", "up"]);
    ip(enter, &["addr", "add", &address, "dev", &name]);
    ip(enter, &["link", "set", &name, "mtu", MTU, "up"]);
}

fn ip(enter: &[String], arguments: &[&str]) {
    let all: Vec<&str> = enter.iter().map(String::as_str).chain(["ip"]).collect();
    let output = Command::new(all[0])
        .args(&all[1..])
        .args(arguments)
        .output()
        .expect("the command ip");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "ip {arguments:?}: {said}");
}
