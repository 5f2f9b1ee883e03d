//! The secret that clients of REST send with each request, as bearer token (RFC 6750).

use std::fmt;
use std::io::Read;

use millpond_types::config::{ConfigError, Configuration, options};
use subtle::ConstantTimeEq;

/// More than any token needs.
const MAX_BYTES: u64 = 4096;

/// A secret. Its `Debug` hides it.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// The one in the file that `security.rest.token-file` names; `None`: there is to be none.
    ///
    /// White space around it does not count.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds something else than a word of visible ASCII characters.
    pub fn from_configuration(configuration: &Configuration) -> Result<Option<Self>, ConfigError> {
        let Some(path) = configuration.get(&options::REST_TOKEN_FILE)? else {
            return Ok(None);
        };
        let refused =
            |why: &str| ConfigError::new(options::REST_TOKEN_FILE.key(), path.as_str(), why);
        let mut bytes = Vec::new();
        std::fs::File::open(&path)
            .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes))
            .map_err(|error| refused(&error.to_string()))?;
        let text = String::from_utf8(bytes).unwrap_or_default();
        let text = text.trim();
        let is_token =
            text.len() as u64 <= MAX_BYTES && text.bytes().all(|byte| byte.is_ascii_graphic());
        match is_token && !text.is_empty() {
            true => Ok(Some(Token(text.to_owned()))),
            false => Err(refused(
                "expected a file with one word of at most 4096 visible ASCII characters, as \
                 openssl rand -hex 32 makes it",
            )),
        }
    }

    /// What is to be kept secret, for another file of the kind.
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The value of the header `Authorization` that proves that one knows it.
    pub fn header(&self) -> String {
        format!("Bearer {}", self.0)
    }

    /// Whether a value of the header `Authorization` holds it; how long that takes tells nothing of it but
    /// its length.
    pub fn is_in(&self, header: &[u8]) -> bool {
        let (scheme, given) = header
            .split_at_checked("Bearer ".len())
            .unwrap_or((header, &[]));
        scheme.eq_ignore_ascii_case(b"Bearer ") && bool::from(given.ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(******)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(text: &[u8]) -> Result<Option<Token>, ConfigError> {
        let place = tempfile::tempdir().expect("room");
        let path = place.path().join("token");
        std::fs::write(&path, text).expect("room");
        let path = path.display().to_string();
        Token::from_configuration(&Configuration::from_pairs([(
            "security.rest.token-file",
            path,
        )]))
    }

    #[test]
    fn who_knows_it_is_let_in_and_nobody_else() {
        let token = token(b" abc.DEF-123\n").expect("a token").expect("one");
        assert!(token.is_in(token.header().as_bytes()) && token.is_in(b"bearer abc.DEF-123"));
        for header in [
            &b""[..],
            b"Bearer",
            b"Bearer ",
            b"Bearer abc.DEF-12",
            b"Bearer abc.DEF-1234",
            b"Bearer abc.DEF-124",
            b"Basic abc.DEF-123",
            b"abc.DEF-123",
            b"Bearer  abc.DEF-123",
            b"\xff\xff",
        ] {
            assert!(!token.is_in(header), "{header:?}");
        }
        assert!(!format!("{token:?}").contains("abc"));
    }

    #[test]
    fn what_is_no_token_is_refused() {
        assert!(
            Token::from_configuration(&Configuration::new())
                .expect("none")
                .is_none()
        );
        for text in [
            &b""[..],
            b" \n",
            b"two words",
            "schlüssel".as_bytes(),
            b"\xff",
            &[b'a'; 5000],
        ] {
            let why = token(text).expect_err("no token").to_string();
            assert!(why.contains("security.rest.token-file"), "{why}");
        }
        let none = [("security.rest.token-file", "/nowhere/token")];
        let why = Token::from_configuration(&Configuration::from_pairs(none)).expect_err("no file");
        assert!(why.to_string().contains("No such file"), "{why}");
    }
}
