//! Who may connect: TLS with certificates of both sides, and the token of REST.
//!
//! | connection | asked for by | who proves itself |
//! | --- | --- | --- |
//! | between processes of a cluster: [`Internal`] | `security.ssl.internal.enabled` | both ends, by a certificate that the trusted ones have signed; names in it do not matter |
//! | REST: [`Rest`], [`RestClient`] | `security.ssl.rest.enabled` | the server, with its name; with `security.ssl.rest.authentication-enabled` the client too |
//! | REST | `security.rest.token-file` | the client, by a [`Token`] |
//!
//! The only importer of `rustls`; what HTTP servers and clients need of it is handed on as it is.

mod connection;
mod internal;
mod pem;
mod rest;
mod token;

pub use connection::Connection;
pub use internal::Internal;
pub use rest::{Identity, Rest, RestClient};
pub use rustls;
pub use token::Token;

use std::sync::Arc;

use millpond_types::config::{ConfigError, Configuration, options};
use rustls::crypto::CryptoProvider;

/// The cryptography of all of Millpond's TLS.
pub fn crypto_provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// Refuses what nobody reads below `security.ssl`: it was to close something that would stay open.
fn refuse_unknown(configuration: &Configuration) -> Result<(), ConfigError> {
    let names: Vec<&str> = options::ALL.iter().flat_map(|info| info.names()).collect();
    let mut unknown = configuration
        .iter()
        .filter(|(key, _)| key.starts_with("security.ssl.") && !names.contains(key));
    let Some((key, value)) = unknown.next() else {
        return Ok(());
    };
    let reason = match key.contains("keystore") || key.contains("truststore") {
        true => format!(
            "Millpond reads PEM files and no Java key stores: set {}, {} and {} \
             (keytool -importkeystore to PKCS12, then openssl pkcs12 -nodes, turns one into the others)",
            options::SSL_CERTIFICATE.key(),
            options::SSL_PRIVATE_KEY.key(),
            options::SSL_TRUSTED_CERTIFICATES.key()
        ),
        false => "Millpond has no such option, and ignores none that is about security".to_owned(),
    };
    let shown = match millpond_types::config::is_secret(key) {
        true => millpond_types::config::HIDDEN,
        false => value,
    };
    Err(ConfigError::new(key, shown, reason))
}
