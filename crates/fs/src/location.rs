//! Locations: absolute paths on some file system, spelled as Flink spells them.
//!
//! | accepted | printed |
//! | --- | --- |
//! | `file:///a/b`, `file:/a/b`, `/a/b`, `file://localhost/a/b` | `file:/a/b` |
//! | `a/b` (relative to the working directory) | `file:/home/me/a/b` |
//! | `s3://bucket/a` | `s3://bucket/a` |
//!
//! `.`, `..`, doubled and trailing slashes are resolved. Percent signs stay as they are: Flink's
//! class `Path` does not decode them.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, ErrorKind};

/// A file or directory: scheme, authority and absolute path.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Location {
    scheme: String,
    authority: String,
    /// Starts with a slash; ends with one only if it is the root.
    path: String,
}

impl Location {
    /// Reads a path or URI.
    ///
    /// # Errors
    ///
    /// Location, if the text is empty, has a `file:` host other than this one, or is relative
    /// while the working directory is unknown or no text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refused = || Error::plain(ErrorKind::Location, "understand", text);
        if text.is_empty() {
            return Err(refused());
        }
        let Some((scheme, rest)) = split_scheme(text) else {
            let path = if text.starts_with('/') {
                text.to_owned()
            } else {
                absolute(text)?
            };
            return Ok(Self::local(&path));
        };
        let (authority, path) = match rest.strip_prefix("//") {
            Some(rest) => rest.split_at(rest.find('/').unwrap_or(rest.len())),
            None => ("", rest),
        };
        if scheme == "file" {
            return match authority {
                "" | "localhost" if path.starts_with('/') => Ok(Self::local(path)),
                "" if !path.is_empty() => Ok(Self::local(&absolute(path)?)),
                _ => Err(refused()),
            };
        }
        let (scheme, authority) = (scheme.to_owned(), authority.to_owned());
        Ok(Location {
            scheme,
            authority,
            path: normalized(path),
        })
    }

    /// Returns the location of a path of this machine.
    ///
    /// # Errors
    ///
    /// Location, if the path is no text.
    pub fn of_path(path: &Path) -> Result<Self, Error> {
        let refused = || Error::plain(ErrorKind::Location, "understand", path.display());
        let text = path.to_str().ok_or_else(refused)?;
        Ok(Self::local(&if path.is_absolute() {
            text.to_owned()
        } else {
            absolute(text)?
        }))
    }

    fn local(path: &str) -> Self {
        Location {
            scheme: "file".to_owned(),
            authority: String::new(),
            path: normalized(path),
        }
    }

    /// The scheme, such as "file".
    pub fn scheme(&self) -> &str {
        &self.scheme
    }

    /// The absolute path without scheme and authority; starts with a slash.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns the location of `name` (a name or a relative path) below this one.
    #[must_use]
    pub fn join(&self, name: &str) -> Self {
        Location {
            path: normalized(&format!("{}/{name}", self.path)),
            ..self.clone()
        }
    }

    /// The last part of the path; empty for the root.
    pub fn file_name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or("")
    }

    /// The directory that holds this; `None` for the root.
    pub fn parent(&self) -> Option<Self> {
        let (parent, name) = self.path.rsplit_once('/')?;
        let path = if parent.is_empty() { "/" } else { parent };
        (!name.is_empty()).then(|| Location {
            path: path.to_owned(),
            ..self.clone()
        })
    }

    /// Whether this is `directory` or lies below it.
    pub fn starts_with(&self, directory: &Location) -> bool {
        let below = || self.path.strip_prefix(&directory.path)?.strip_prefix('/');
        self.scheme == directory.scheme
            && self.authority == directory.authority
            && (self.path == directory.path || directory.path == "/" || below().is_some())
    }

    /// The path of this machine, if the scheme is "file".
    pub fn to_local_path(&self) -> Option<PathBuf> {
        (self.scheme == "file").then(|| PathBuf::from(&self.path))
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Location {
            scheme,
            authority,
            path,
        } = self;
        if authority.is_empty() {
            write!(f, "{scheme}:{path}")
        } else {
            write!(f, "{scheme}://{authority}{path}")
        }
    }
}

impl FromStr for Location {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Location::parse(text)
    }
}

/// Splits off a scheme: a letter, then letters, digits and `+-.`, then a colon.
fn split_scheme(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let letters = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
    let is_scheme =
        scheme.starts_with(|c: char| c.is_ascii_alphabetic()) && scheme.chars().all(letters);
    is_scheme.then_some((scheme, rest))
}

fn absolute(relative: &str) -> Result<String, Error> {
    let here = std::env::current_dir()
        .map_err(|source| Error::io("find the working directory for", relative, source))?;
    let here = here
        .to_str()
        .ok_or_else(|| Error::plain(ErrorKind::Location, "understand", relative))?;
    Ok(format!("{here}/{relative}"))
}

fn normalized(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            name => parts.push(name),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Location {
        Location::parse(text).expect("a location")
    }

    #[test]
    fn every_spelling_of_a_local_path_is_the_same_location() {
        for text in [
            "file:///a/b c",
            "file:/a/b c",
            "/a/b c",
            "/a//x/.././b c/",
            "file://localhost/a/b c",
        ] {
            assert_eq!(parsed(text).to_string(), "file:/a/b c", "{text}");
        }
        let here = std::env::current_dir().expect("a directory");
        assert_eq!(parsed("a/b").to_local_path(), Some(here.join("a/b")));
        assert_eq!(parsed("file:a/b").to_local_path(), Some(here.join("a/b")));
        assert_eq!(parsed("s3://bucket/a/").to_string(), "s3://bucket/a");
        assert_eq!(parsed("s3://bucket/a").to_local_path(), None);
        for bad in ["", "file://elsewhere/a", "file:"] {
            assert_eq!(
                Location::parse(bad).expect_err(bad).kind(),
                ErrorKind::Location
            );
        }
    }

    #[test]
    fn joining_and_parents_undo_each_other() {
        let directory = parsed("/a");
        let file = directory.join("b").join("../c");
        assert_eq!(file.to_string(), "file:/a/c");
        assert_eq!(file.file_name(), "c");
        assert_eq!(file.parent(), Some(directory.clone()));
        assert!(file.starts_with(&directory) && !parsed("/ab").starts_with(&directory));
        let root = directory.parent().expect("the root");
        assert_eq!(
            (root.to_string().as_str(), root.file_name()),
            ("file:/", "")
        );
        assert_eq!(root.parent(), None);
        assert_eq!(root.join("a"), directory);
        assert!(directory.starts_with(&root));
    }
}
