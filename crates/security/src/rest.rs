//! REST by TLS: what a server shows, and what a client believes.

use std::sync::Arc;

use millpond_types::config::{ConfigError, Configuration, options};
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::server::WebPkiClientVerifier;

use crate::token::Token;
use crate::{crypto_provider, pem, refuse_unknown};

/// What a server of REST asks for.
#[derive(Clone, Debug, Default)]
pub struct Rest {
    /// How it speaks; `None`: in clear.
    pub tls: Option<Arc<ServerConfig>>,
    /// What requests have to have; `None`: nothing.
    pub token: Option<Token>,
}

impl Rest {
    /// What the options say.
    ///
    /// # Errors
    ///
    /// A file is missing or damaged, or the key is not that of the certificate.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, ConfigError> {
        let token = Token::from_configuration(configuration)?;
        if !configuration.get(&options::SSL_REST_ENABLED)? {
            return Ok(Rest { tls: None, token });
        }
        refuse_unknown(configuration)?;
        let by = options::SSL_REST_ENABLED.key();
        let chain = pem::certificates(configuration, &options::SSL_REST_CERTIFICATE, by)?;
        let key = pem::private_key(configuration, &options::SSL_REST_PRIVATE_KEY, by)?;
        let bad = |error: &dyn std::fmt::Display| {
            let option = &options::SSL_REST_CERTIFICATE;
            let path = configuration.get(option).ok().flatten().unwrap_or_default();
            ConfigError::new(option.key(), path, error.to_string())
        };
        let provider = crypto_provider();
        let verifier = match configuration.get(&options::SSL_REST_AUTHENTICATION_ENABLED)? {
            true => {
                let by = options::SSL_REST_AUTHENTICATION_ENABLED.key();
                let trusted = &options::SSL_REST_TRUSTED_CERTIFICATES;
                let roots = pem::trusted(configuration, trusted, by)?;
                WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
                    .build()
                    .map_err(|error| bad(&error))?
            }
            false => WebPkiClientVerifier::no_client_auth(),
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            // Flink's client speaks TLS 1.2 unless told otherwise.
            .with_protocol_versions(rustls::ALL_VERSIONS)
            .map_err(|error| bad(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|error| bad(&error))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Rest {
            tls: Some(Arc::new(config)),
            token,
        })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        match self.tls {
            Some(_) => "https",
            None => "http",
        }
    }
}

/// A certificate with what leads to a trusted one, and its key.
pub struct Identity {
    /// The certificate, then those that have signed it.
    pub chain: Vec<CertificateDer<'static>>,
    /// Its private key, as PEM.
    pub key: Vec<u8>,
}

/// What a client of REST believes and shows.
#[derive(Default)]
pub struct RestClient {
    /// Whose signatures it believes; `None`: it speaks in clear.
    pub trusted: Option<Vec<CertificateDer<'static>>>,
    /// What it shows to a server that asks who it is.
    pub identity: Option<Identity>,
    /// What it sends with each request.
    pub token: Option<Token>,
}

impl RestClient {
    /// What the options say.
    ///
    /// # Errors
    ///
    /// A file is missing or damaged.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, ConfigError> {
        let token = Token::from_configuration(configuration)?;
        if !configuration.get(&options::SSL_REST_ENABLED)? {
            return Ok(RestClient {
                token,
                ..RestClient::default()
            });
        }
        refuse_unknown(configuration)?;
        let by = options::SSL_REST_ENABLED.key();
        let trusted = &options::SSL_REST_TRUSTED_CERTIFICATES;
        let trusted = pem::certificates(configuration, trusted, by)?;
        let by = options::SSL_REST_AUTHENTICATION_ENABLED.key();
        let identity = match configuration.get(&options::SSL_REST_AUTHENTICATION_ENABLED)? {
            true => Some(Identity {
                chain: pem::certificates(configuration, &options::SSL_REST_CERTIFICATE, by)?,
                key: pem::private_key_text(configuration, &options::SSL_REST_PRIVATE_KEY, by)?,
            }),
            false => None,
        };
        Ok(RestClient {
            trusted: Some(trusted),
            identity,
            token,
        })
    }
}
