//! A port, or several to try: `8081`, `50100-50200`, `50100,50200-50300`.

use std::fmt;
use std::ops::RangeInclusive;

use super::ConfigValue;

/// Ports in the order in which they are to be tried; 0 is any free port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortRange(Vec<RangeInclusive<u16>>);

impl PortRange {
    /// Returns the range of one port.
    pub fn single(port: u16) -> Self {
        PortRange(vec![port..=port])
    }

    /// The ports in order.
    pub fn ports(&self) -> impl Iterator<Item = u16> + '_ {
        self.0.iter().cloned().flatten()
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, range) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{}", range.start())?;
            if range.start() != range.end() {
                write!(f, "-{}", range.end())?;
            }
        }
        Ok(())
    }
}

impl ConfigValue for PortRange {
    fn parse(text: &str) -> Result<Self, String> {
        let bad = || {
            format!("Invalid port configuration. Port must be between 0 and 65535, but was {text}.")
        };
        let port = |text: &str| text.trim().parse::<u16>().map_err(|_| bad());
        text.split(',')
            .map(|part| match part.split_once('-') {
                Some((first, last)) => {
                    let (first, last) = (port(first)?, port(last)?);
                    if first > last {
                        Err(bad())
                    } else {
                        Ok(first..=last)
                    }
                }
                None => port(part).map(|port| port..=port),
            })
            .collect::<Result<_, _>>()
            .map(PortRange)
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_tried_in_the_order_in_which_they_are_written() {
        let range = PortRange::parse("9000, 8081-8083").expect("parses");
        assert_eq!(range.ports().collect::<Vec<_>>(), [9000, 8081, 8082, 8083]);
        assert_eq!(range.to_text(), "9000,8081-8083");
        for bad in ["", "x", "70000", "9-8", "-1"] {
            assert!(PortRange::parse(bad).is_err(), "{bad}");
        }
    }
}
