//! Apache ZooKeeper in a child process: one server, on this machine.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::job_process::{tail, wait_for};
use crate::skip::skip;

/// Where Debian's package `zookeeper` puts it.
const JAR: &str = "/usr/share/java/zookeeper.jar";

/// How the package logs.
const CONFIGURATION: &str = "/etc/zookeeper/conf";

/// How often another port is tried.
const TRIES: u32 = 5;

/// A server that keeps its data; it is killed when this is dropped.
pub struct ZooKeeper {
    directory: tempfile::TempDir,
    port: u16,
    child: Child,
}

impl ZooKeeper {
    /// Starts one for a test; `None`, which is told, if there is no ZooKeeper on this machine.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn start(test: &str) -> Option<Self> {
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
            let (directory, port) = (tempfile::tempdir().expect("room"), free_port());
            configure(directory.path(), port);
            let mut server = ZooKeeper {
                child: spawn(directory.path()),
                directory,
                port,
            };
            if server.answers_before_it_ends() {
                return Some(server);
            }
            said = std::fs::read_to_string(server.directory.path().join("log")).unwrap_or_default();
        }
        panic!("ZooKeeper does not start:\n{}", tail(&said));
    }

    /// For `high-availability.zookeeper.quorum`.
    pub fn quorum(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts it once more, over its data and at its port.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&mut self) {
        self.kill();
        wait_for("ZooKeeper to start again", || {
            // Somebody may have its port for a moment.
            self.child = spawn(self.directory.path());
            self.answers_before_it_ends().then_some(())
        });
    }

    fn answers_before_it_ends(&mut self) -> bool {
        wait_for("ZooKeeper to answer or to end", || {
            match self.child.try_wait().expect("a child") {
                Some(_) => Some(false),
                None => answers(self.port).then_some(true),
            }
        })
    }
}

impl Drop for ZooKeeper {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Below those that the system gives to connections.
fn free_port() -> u16 {
    let mut random = crate::random::Random::new(crate::random::fresh_seed());
    wait_for("a free port", || {
        let port = 20_000 + random.below(10_000) as u16;
        TcpListener::bind(("127.0.0.1", port)).ok().map(|_| port)
    })
}

fn configure(directory: &Path, port: u16) {
    let text = format!(
        "dataDir={}/data\nclientPort={port}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n\
         maxClientCnxns=0\ntickTime=500\nminSessionTimeout=1000\nmaxSessionTimeout=600000\n\
         4lw.commands.whitelist=srvr\n",
        directory.display()
    );
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

fn answers(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"srvr")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.contains("Mode: standalone"))
}
