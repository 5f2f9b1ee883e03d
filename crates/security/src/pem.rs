//! Certificates and keys in PEM files that options name.

use std::sync::Arc;

use millpond_types::config::{ConfigError, ConfigOption, Configuration};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A file that an option has to name.
fn path(
    configuration: &Configuration,
    option: &ConfigOption<Option<String>>,
    wanted_by: &str,
) -> Result<String, ConfigError> {
    let path = configuration.get(option)?;
    path.ok_or_else(|| {
        let reason = format!("expected a PEM file, as {wanted_by} is true");
        ConfigError::new(option.key(), "", reason)
    })
}

/// The certificates of a file, at least one, in their order.
pub(crate) fn certificates(
    configuration: &Configuration,
    option: &ConfigOption<Option<String>>,
    wanted_by: &str,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let path = path(configuration, option, wanted_by)?;
    let refused = |why: String| ConfigError::new(option.key(), path.as_str(), why);
    let found = CertificateDer::pem_file_iter(&path).and_then(Iterator::collect);
    let found: Vec<CertificateDer<'static>> = found.map_err(|error| refused(error.to_string()))?;
    match found.is_empty() {
        true => Err(refused(
            "expected a PEM file with \"BEGIN CERTIFICATE\", found none".to_owned(),
        )),
        false => Ok(found),
    }
}

/// The text of a file with a private key.
pub(crate) fn private_key_text(
    configuration: &Configuration,
    option: &ConfigOption<Option<String>>,
    wanted_by: &str,
) -> Result<Vec<u8>, ConfigError> {
    private_key(configuration, option, wanted_by)?;
    let path = path(configuration, option, wanted_by)?;
    let text = std::fs::read(&path);
    text.map_err(|error| ConfigError::new(option.key(), path, error.to_string()))
}

/// The private key of a file.
pub(crate) fn private_key(
    configuration: &Configuration,
    option: &ConfigOption<Option<String>>,
    wanted_by: &str,
) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let path = path(configuration, option, wanted_by)?;
    PrivateKeyDer::from_pem_file(&path).map_err(|error| {
        let reason =
            format!("expected a PEM file with a private key that is not encrypted: {error}");
        ConfigError::new(option.key(), path.as_str(), reason)
    })
}

/// The certificates of a file as those that are trusted.
pub(crate) fn trusted(
    configuration: &Configuration,
    option: &ConfigOption<Option<String>>,
    wanted_by: &str,
) -> Result<Arc<RootCertStore>, ConfigError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(configuration, option, wanted_by)? {
        store.add(certificate).map_err(|error| {
            let path = configuration.get(option).ok().flatten().unwrap_or_default();
            ConfigError::new(
                option.key(),
                path,
                format!("a certificate is damaged: {error}"),
            )
        })?;
    }
    Ok(Arc::new(store))
}
