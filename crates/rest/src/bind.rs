//! The address that REST listens on.

use std::net::{IpAddr, SocketAddr, TcpListener};

use millpond_security::Rest;
use millpond_types::config::{ConfigError, Configuration, options};

use crate::error::{Error, ErrorKind};

/// How many ports above the default one are tried, so that several jobs run on one machine.
const PORTS_TRIED: u16 = 100;

/// Listens where the options say.
///
/// `rest.bind-port`, else `rest.port`, else 8081. What was given explicitly is used, or the start
/// fails; only the default moves to the next free port.
///
/// # Errors
///
/// A bad option; no port is free.
pub fn bind(configuration: &Configuration) -> Result<TcpListener, Error> {
    let bad_option = |error: ConfigError| {
        Error::new(
            ErrorKind::Configuration,
            "the address of REST is not usable",
            error,
        )
    };
    let host = configuration
        .get(&options::REST_BIND_ADDRESS)
        .map_err(bad_option)?;
    let ports = configuration
        .get(&options::REST_BIND_PORT)
        .map_err(bad_option)?;
    let address: IpAddr = match host.as_str() {
        "localhost" => IpAddr::from([127, 0, 0, 1]),
        host => host.parse().map_err(|_| {
            bad_option(ConfigError::new(
                options::REST_BIND_ADDRESS.key(),
                host,
                "expected an IP address or localhost",
            ))
        })?,
    };
    if !address.is_loopback() {
        warn(&host, configuration).map_err(bad_option)?;
    }
    let is_default = !configuration.contains(&options::REST_BIND_PORT);
    let mut tried: Vec<u16> = ports.ports().collect();
    if is_default {
        let first = tried[0];
        tried.extend(first + 1..first + PORTS_TRIED);
    }
    let mut last = None;
    for port in &tried {
        match TcpListener::bind(SocketAddr::new(address, *port)) {
            Ok(listener) => return Ok(listener),
            Err(error) => last = Some(error),
        }
    }
    let which = if is_default {
        format!("{ports} and the {} ports above it are", PORTS_TRIED - 1)
    } else {
        format!("{ports} is")
    };
    let error = last.expect("a port range has at least one port");
    Err(Error::new(
        ErrorKind::Bind,
        format!("REST cannot listen on {host}: port {which} not free; choose another rest.port"),
        error,
    ))
}

/// Warns of an address that others reach, unless it is asked who they are.
fn warn(address: &str, configuration: &Configuration) -> Result<(), ConfigError> {
    let rest = Rest::from_configuration(configuration)?;
    let asks = configuration.get(&options::SSL_REST_AUTHENTICATION_ENABLED)?;
    let key = options::REST_BIND_ADDRESS.key();
    if rest.token.is_none() && !(asks && rest.tls.is_some()) {
        tracing::warn!(
            "REST listens on {address} ({key}) and not on this machine alone: whoever reaches it can \
             cancel jobs, as nothing asks who that is; {} does, or {} = true",
            options::REST_TOKEN_FILE.key(),
            options::SSL_REST_AUTHENTICATION_ENABLED.key()
        );
    } else if rest.tls.is_none() {
        tracing::warn!(
            "REST listens on {address} ({key}) and not on this machine alone: whoever hears the network \
             has its token; {} = true hides it",
            options::SSL_REST_ENABLED.key()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_given_is_used_or_refused() {
        // Another process may take one of them in between.
        let is_had = (0..100).any(|_| {
            let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
            let port = taken.local_addr().expect("bound").port();
            let configuration = Configuration::from_pairs([("rest.port", port.to_string())]);
            let error = bind(&configuration).expect_err("taken");
            assert_eq!(error.kind(), ErrorKind::Bind);
            assert!(error.to_string().contains(&port.to_string()), "{error}");
            drop(taken);
            bind(&configuration).is_ok_and(|listener| {
                assert_eq!(listener.local_addr().expect("bound").port(), port);
                true
            })
        });
        assert!(is_had, "none is free again");
    }

    #[test]
    fn the_default_port_moves_to_the_next_free_one() {
        let first = bind(&Configuration::new()).expect("a port");
        let second = bind(&Configuration::new()).expect("another port");
        let port = |listener: &TcpListener| listener.local_addr().expect("bound").port();
        // Those below may become free meanwhile.
        let tried = 8081..8081 + PORTS_TRIED;
        assert!(tried.contains(&port(&first)) && tried.contains(&port(&second)));
        assert_ne!(port(&second), port(&first));
        assert!(first.local_addr().expect("bound").ip().is_loopback());
    }

    #[test]
    fn an_address_that_is_none_is_refused() {
        let configuration = Configuration::from_pairs([("rest.bind-address", "nowhere at all")]);
        assert_eq!(
            bind(&configuration).expect_err("no address").kind(),
            ErrorKind::Configuration
        );
    }
}
