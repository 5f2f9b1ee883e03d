//! The job's own arguments.

use std::path::PathBuf;

/// What the job reads and writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The file of flights, plain or gzip.
    pub input: PathBuf,
    /// The directory of the results.
    pub output: PathBuf,
    /// At most so many lines per second; without it, as fast as possible.
    pub rate: Option<u64>,
}

/// How the arguments are given.
const USAGE: &str = "usage: --input FILE --output DIR [--rate LINES_PER_SECOND]";

impl Options {
    /// Reads `--input FILE --output DIR [--rate R]`.
    ///
    /// # Errors
    ///
    /// What is wrong, and how it should be.
    pub fn parse(arguments: &[String]) -> Result<Self, String> {
        let (mut input, mut output, mut rate) = (None, None, None);
        let mut rest = arguments.iter();
        while let Some(name) = rest.next() {
            let value = rest
                .next()
                .ok_or_else(|| format!("{name} needs a value; {USAGE}"))?;
            match name.as_str() {
                "--input" => input = Some(PathBuf::from(value)),
                "--output" => output = Some(PathBuf::from(value)),
                "--rate" => rate = Some(parse_rate(value)?),
                _ => return Err(format!("unknown option {name}; {USAGE}")),
            }
        }
        let missing = |name| format!("{name} is missing; {USAGE}");
        Ok(Options {
            input: input.ok_or_else(|| missing("--input"))?,
            output: output.ok_or_else(|| missing("--output"))?,
            rate,
        })
    }
}

fn parse_rate(text: &str) -> Result<u64, String> {
    let rate = text.parse().ok().filter(|rate| *rate > 0);
    rate.ok_or_else(|| format!("--rate is \"{text}\", expected a number from 1"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Options, String> {
        Options::parse(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn a_rate_may_be_given() {
        let options = parse("--output out --input in.csv").expect("complete");
        assert_eq!(
            (options.rate, options.input),
            (None, PathBuf::from("in.csv"))
        );
        let options = parse("--output out --input in.csv --rate 100").expect("complete");
        assert_eq!(
            (options.rate, options.output),
            (Some(100), PathBuf::from("out"))
        );
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, told) in [
            ("--input a", "--output is missing"),
            ("--input a --output", "--output needs a value"),
            ("--input a --output b --rate 0", "expected a number from 1"),
            ("--inputs a", "unknown option --inputs"),
        ] {
            assert!(parse(text).expect_err(text).contains(told), "{text}");
        }
    }
}
