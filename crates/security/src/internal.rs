//! Connections between the processes of a cluster: in clear, or by TLS with certificates of both ends.
//!
//! As in Flink every process has the same right: each end has to show a certificate that one of the trusted
//! ones has signed, and names in it do not matter. So the certificates have to be of an authority that signs
//! for this cluster alone. TLS 1.3 only: both ends are Millpond.

use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::time::Duration;

use millpond_types::config::{ConfigError, Configuration, options};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, IpAddr, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{
    ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, ServerConfig,
    ServerConnection, SignatureScheme,
};

use crate::connection::Connection;
use crate::{crypto_provider, pem, refuse_unknown};

/// How long the other end may take until it has proved who it is.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);

/// How processes of a cluster speak with each other.
#[derive(Clone, Debug, Default)]
pub struct Internal {
    /// None: in clear.
    tls: Option<Tls>,
}

#[derive(Clone, Debug)]
struct Tls {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Internal {
    /// In clear, with everybody.
    pub fn in_clear() -> Self {
        Internal::default()
    }

    /// What the options say.
    ///
    /// # Errors
    ///
    /// A file is missing or damaged, or the key is not that of the certificate.
    pub fn from_configuration(configuration: &Configuration) -> Result<Self, ConfigError> {
        if !configuration.get(&options::SSL_INTERNAL_ENABLED)? {
            return Ok(Internal::in_clear());
        }
        refuse_unknown(configuration)?;
        let by = options::SSL_INTERNAL_ENABLED.key();
        let chain = pem::certificates(configuration, &options::SSL_INTERNAL_CERTIFICATE, by)?;
        let key = pem::private_key(configuration, &options::SSL_INTERNAL_PRIVATE_KEY, by)?;
        let trusted = &options::SSL_INTERNAL_TRUSTED_CERTIFICATES;
        let roots = pem::trusted(configuration, trusted, by)?;
        let bad = |error: &dyn std::fmt::Display| {
            let option = &options::SSL_INTERNAL_CERTIFICATE;
            let path = configuration.get(option).ok().flatten().unwrap_or_default();
            ConfigError::new(option.key(), path, error.to_string())
        };
        let provider = crypto_provider();
        let versions = [&rustls::version::TLS13];
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(|error| bad(&error))?;
        let server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&versions)
            .map_err(|error| bad(&error))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain.clone(), key.clone_key())
            .map_err(|error| bad(&error))?;
        let verifier = AnyName {
            roots,
            algorithms: provider.signature_verification_algorithms,
        };
        let client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&versions)
            .map_err(|error| bad(&error))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_client_auth_cert(chain, key)
            .map_err(|error| bad(&error))?;
        Ok(Internal {
            tls: Some(Tls {
                client: Arc::new(client),
                server: Arc::new(server),
            }),
        })
    }

    /// Whether connections are encrypted, and both ends prove who they are.
    pub fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects to another process at `host:port`, at whichever of its addresses answers within `timeout`.
    ///
    /// # Errors
    ///
    /// None does, or it does not prove that it is of this cluster.
    pub fn connect(&self, address: &str, timeout: Duration) -> io::Result<Connection> {
        let stream = reach(address, timeout)?;
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Connection::in_clear(stream));
        };
        // Of no effect on what is verified.
        let name = ServerName::IpAddress(IpAddr::from(stream.peer_addr()?.ip()));
        let session = ClientConnection::new(Arc::clone(&tls.client), name);
        let session = session.map_err(io::Error::other)?;
        Connection::secured(stream, session.into(), HANDSHAKE_TIMEOUT)
    }

    /// Goes on with a connection that somebody else has begun.
    ///
    /// # Errors
    ///
    /// Whoever that is does not prove to be of this cluster; who it was and why, for the log.
    pub fn accept(&self, stream: TcpStream) -> io::Result<Connection> {
        let peer = stream.peer_addr();
        stream.set_nodelay(true)?;
        let Some(tls) = &self.tls else {
            return Ok(Connection::in_clear(stream));
        };
        let session = ServerConnection::new(Arc::clone(&tls.server)).map_err(io::Error::other)?;
        Connection::secured(stream, session.into(), HANDSHAKE_TIMEOUT).map_err(|error| {
            let peer = peer.map_or_else(
                |_| "somebody".to_owned(),
                |peer: SocketAddr| peer.to_string(),
            );
            io::Error::new(error.kind(), format!("{peer} is refused: {error}"))
        })
    }

    /// What may be wrong with a connection that ended without an answer.
    pub fn hint(&self) -> &'static str {
        match self.tls {
            Some(_) => "is security.ssl.internal.enabled true there as well?",
            None => "is security.ssl.internal.enabled true there, and not here?",
        }
    }
}

fn reach(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = None;
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::Error::other("the name has no address")))
}

/// Verifies who has signed a certificate, and not whose it is.
#[derive(Debug)]
struct AnyName {
    roots: Arc<RootCertStore>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
