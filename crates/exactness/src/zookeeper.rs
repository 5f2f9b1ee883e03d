//! Apache ZooKeeper in child processes on this machine: one server, or an ensemble of three.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::job_process::{tail, wait_for};
use crate::skip::skip;

/// Where Debian's package `zookeeper` puts it.
const JAR: &str = "/usr/share/java/zookeeper.jar";

/// How the package logs.
const CONFIGURATION: &str = "/etc/zookeeper/conf";

/// How many servers an ensemble has: it works while two of them do.
pub const ENSEMBLE: usize = 3;

/// How often other ports are tried.
const TRIES: u32 = 5;

/// Servers that keep their data, counted from 0; they are killed when this is dropped.
pub struct ZooKeeper {
    servers: Vec<Server>,
    _directory: tempfile::TempDir,
}

struct Server {
    directory: PathBuf,
    ports: Ports,
    child: Child,
}

/// Where a server listens.
#[derive(Clone, Copy)]
struct Ports {
    client: u16,
    /// For those that follow it.
    quorum: u16,
    election: u16,
}

impl ZooKeeper {
    /// Starts one server for a test; `None`, which is told, if there is no ZooKeeper on this machine.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(test: &str) -> Option<Self> {
        Self::start_servers(1, test)
    }

    /// As [`start`](Self::start), for an [`ENSEMBLE`] that has elected its leader.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start_ensemble(test: &str) -> Option<Self> {
        Self::start_servers(ENSEMBLE, test)
    }

    fn start_servers(count: usize, test: &str) -> Option<Self> {
        if !Path::new(JAR).exists() {
            skip(test, &format!("no {JAR} (Debian package zookeeper)"));
            return None;
        }
        let java = Command::new("java")
            .arg("-version")
            .stderr(Stdio::null())
            .status();
        if !java.is_ok_and(|status| status.success()) {
            skip(test, "no java (Debian package default-jre-headless)");
            return None;
        }
        let mut said = String::new();
        for _ in 0..TRIES {
            let directory = tempfile::tempdir().expect("room");
            let ports = free_ports(count);
            let servers = (0..count).map(|number| {
                let directory = directory.path().join(number.to_string());
                configure(&directory, number, &ports);
                Server {
                    child: spawn(&directory),
                    directory,
                    ports: ports[number],
                }
            });
            let mut started = ZooKeeper {
                servers: servers.collect(),
                _directory: directory,
            };
            if started.work_before_one_ends() {
                return Some(started);
            }
            said = started.servers.iter().map(Server::log).collect();
        }
        panic!("ZooKeeper does not start:\n{}", tail(&said));
    }

    /// For `high-availability.zookeeper.quorum`.
    pub fn quorum(&self) -> String {
        let servers = self.servers.iter();
        let places = servers.map(|server| format!("127.0.0.1:{}", server.ports.client));
        places.collect::<Vec<_>>().join(",")
    }

    /// The process of a server.
    pub fn process(&self, server: usize) -> u32 {
        self.servers[server].child.id()
    }

    /// The server that leads the ensemble.
    ///
    /// # Panics
    ///
    /// If there is none for long.
    pub fn leader(&self) -> usize {
        wait_for("a leader of the ensemble", || {
            let mut servers = self.servers.iter();
            servers.position(|server| server.mode().as_deref() == Some("leader"))
        })
    }

    /// Kills a server with SIGKILL.
    pub fn kill(&mut self, server: usize) {
        self.servers[server].kill();
    }

    /// Starts those that were killed once more, over their data and at their ports, and waits until all work.
    ///
    /// # Panics
    ///
    /// If they do not.
    pub fn restart(&mut self) {
        wait_for("ZooKeeper to start again", || {
            // Somebody may have a port for a moment.
            for server in &mut self.servers {
                if server.has_ended() {
                    server.child = spawn(&server.directory);
                }
            }
            self.work_before_one_ends().then_some(())
        });
    }

    fn work_before_one_ends(&mut self) -> bool {
        wait_for("ZooKeeper to work or to end", || {
            if self.servers.iter_mut().any(Server::has_ended) {
                return Some(false);
            }
            let works = self.servers.iter().all(|server| server.mode().is_some());
            works.then_some(true)
        })
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.servers.iter_mut().for_each(Server::kill);
    }
}

impl Server {
    fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.directory.join("log")).unwrap_or_default()
    }

    /// Its part, if it has one: `standalone`, `leader` or `follower`.
    fn mode(&self) -> Option<String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports.client))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            stream.write_all(b"srvr")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        let answer = ask().ok()?;
        let mode = answer.lines().find_map(|line| line.strip_prefix("Mode: "));
        mode.map(str::to_owned)
    }
}

/// Below those that the system gives to connections.
fn free_ports(count: usize) -> Vec<Ports> {
    let mut random = crate::random::Random::new(crate::random::fresh_seed());
    let mut listen = || {
        wait_for("a free port", || {
            let port = 20_000 + random.below(10_000) as u16;
            TcpListener::bind(("127.0.0.1", port)).ok()
        })
    };
    // All at once, so that they differ.
    let listeners: Vec<[TcpListener; 3]> = (0..count)
        .map(|_| std::array::from_fn(|_| listen()))
        .collect();
    let port = |listener: &TcpListener| listener.local_addr().expect("it is bound").port();
    let all = listeners.iter().map(|[client, quorum, election]| Ports {
        client: port(client),
        quorum: port(quorum),
        election: port(election),
    });
    all.collect()
}

fn configure(directory: &Path, number: usize, all: &[Ports]) {
    let data = directory.join("data");
    std::fs::create_dir_all(&data).expect("room");
    let mut text = format!(
        "dataDir={}\nclientPort={}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         maxClientCnxns=0\ntickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=600000\n\
         4lw.commands.whitelist=srvr\n",
        data.display(),
        all[number].client
    );
    if all.len() > 1 {
        let id = |number: usize| number + 1;
        std::fs::write(data.join("myid"), id(number).to_string()).expect("room");
        // Ticks: long enough for a stall of a busy machine.
        text += "initLimit=60\nsyncLimit=20\n";
        for (number, ports) in all.iter().enumerate() {
            let (quorum, election) = (ports.quorum, ports.election);
            text += &format!("server.{}=127.0.0.1:{quorum}:{election}\n", id(number));
        }
    }
    std::fs::write(directory.join("zoo.cfg"), text).expect("room");
}

fn spawn(directory: &Path) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(directory.join("log"));
    let log = log.expect("room");
    Command::new("java")
        .args([
            "-Xmx96m",
            "-XX:TieredStopAtLevel=1",
            "-Dzookeeper.forceSync=no",
            "-cp",
        ])
        .arg(format!("{CONFIGURATION}:{JAR}"))
        .arg("org.apache.zookeeper.server.quorum.QuorumPeerMain")
        .arg(directory.join("zoo.cfg"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("java can be started")
}
