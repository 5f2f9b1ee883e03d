//! The machines of a cluster, as the files `workers` and `masters` name them.
//!
//! A host per line; what is behind `#` is a comment. In `masters` a line may be `host:port`, with the port of REST. A
//! host that is named several times has several processes. Flink 2.3.0, `config.sh`: `readMasters`, `readWorkers`.

/// A machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Machine {
    /// Its name or address.
    pub(crate) host: String,
    /// The port of REST there, if one was named.
    pub(crate) port: Option<u16>,
    /// How often it was named.
    pub(crate) count: u32,
}

impl Machine {
    /// This one, once.
    pub(crate) fn here() -> Self {
        Machine {
            host: "localhost".to_owned(),
            port: None,
            count: 1,
        }
    }

    /// Whether it is this one, which needs no `ssh`.
    pub(crate) fn is_here(&self) -> bool {
        ["localhost", "127.0.0.1", "::1"].contains(&self.host.as_str())
    }
}

/// The machines of a file, in order. Lines with the same host and port are one machine.
pub(crate) fn parse(text: &str) -> Result<Vec<Machine>, String> {
    let mut machines: Vec<Machine> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.split('#').next().unwrap_or_default().trim();
        if line.is_empty() {
            continue;
        }
        let refused = |why: &str| Err(format!("line {number} is \"{line}\", {why}"));
        let (host, port) = match line.rsplit_once(':') {
            // Several colons: an address of IPv6.
            Some((host, port)) if !host.contains(':') => match port.parse::<u16>() {
                Ok(port) => (host, Some(port)),
                Err(_) => return refused("expected a port behind the colon"),
            },
            _ => (line, None),
        };
        // What begins with a dash would be an option of ssh.
        let is_host = |c: char| c.is_ascii_alphanumeric() || "._-:@%".contains(c);
        if host.is_empty() || host.starts_with('-') || !host.chars().all(is_host) {
            return refused("expected one host per line");
        }
        let same = |machine: &&mut Machine| machine.host == host && machine.port == port;
        match machines.iter_mut().find(same) {
            Some(machine) => machine.count += 1,
            None => machines.push(Machine {
                host: host.to_owned(),
                port,
                count: 1,
            }),
        }
    }
    match machines.is_empty() {
        true => Err("it names no host".to_owned()),
        false => Ok(machines),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(host: &str, port: Option<u16>, count: u32) -> Machine {
        Machine {
            host: host.to_owned(),
            port,
            count,
        }
    }

    #[test]
    fn a_host_per_line_and_as_many_processes_as_lines() {
        let text = "localhost\n# none\n worker-1  # fast\n\nlocalhost\nuser@10.0.0.7\n::1\n";
        let expected = vec![
            machine("localhost", None, 2),
            machine("worker-1", None, 1),
            machine("user@10.0.0.7", None, 1),
            machine("::1", None, 1),
        ];
        assert_eq!(parse(text), Ok(expected));
        let expected = vec![
            machine("localhost", Some(8081), 1),
            machine("localhost", Some(8082), 1),
        ];
        assert_eq!(parse("localhost:8081\nlocalhost:8082"), Ok(expected));
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_line() {
        for (text, part) in [
            ("", "no host"),
            ("ok\n-oProxyCommand=x", "line 2"),
            ("a b", "one host per line"),
            ("a:b", "a port"),
            ("$(x)", "one host per line"),
        ] {
            let why = parse(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
