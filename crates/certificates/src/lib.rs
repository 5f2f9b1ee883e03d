//! Certificates for tests: an authority in a directory, and what it signs.

use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

/// Signs certificates; its own is in `ca.pem` of its directory.
pub struct Authority {
    directory: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// A new one, which nobody else trusts.
    ///
    /// # Panics
    ///
    /// If the directory cannot be made or written to.
    pub fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory can be made");
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(
            DnType::CommonName,
            format!("authority of {}", directory.display()),
        );
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params.self_signed(&key).expect("it can be signed");
        std::fs::write(directory.join("ca.pem"), certificate.pem()).expect("there is room");
        Authority {
            directory: directory.to_owned(),
            issuer: Issuer::new(params, key),
        }
    }

    /// Signs a new certificate for 127.0.0.1 and localhost: `NAME.pem`, with its key in `NAME.key`.
    ///
    /// # Panics
    ///
    /// If the directory cannot be written to.
    pub fn sign(&self, name: &str) {
        self.sign_for(name, &["127.0.0.1", "localhost"]);
    }

    /// As [`sign`](Self::sign), for other hosts.
    ///
    /// # Panics
    ///
    /// As there; if one is no name of a host.
    pub fn sign_for(&self, name: &str, hosts: &[&str]) {
        let hosts: Vec<String> = hosts.iter().map(|&host| host.to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names of hosts");
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().expect("a key can be made");
        let certificate = params
            .signed_by(&key, &self.issuer)
            .expect("it can be signed");
        let file = |end: &str| self.directory.join(format!("{name}.{end}"));
        std::fs::write(file("pem"), certificate.pem()).expect("there is room");
        std::fs::write(file("key"), key.serialize_pem()).expect("there is room");
    }

    /// Where it writes.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Options `PREFIX.certificate` and so on for the certificate of that name.
    pub fn options(&self, prefix: &str, name: &str) -> Vec<(String, String)> {
        let file = |file: String| self.directory.join(file).display().to_string();
        vec![
            (format!("{prefix}.certificate"), file(format!("{name}.pem"))),
            (format!("{prefix}.private-key"), file(format!("{name}.key"))),
            (
                format!("{prefix}.trusted-certificates"),
                file("ca.pem".to_owned()),
            ),
        ]
    }
}
