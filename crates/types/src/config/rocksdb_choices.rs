//! Options of RocksDB whose value is one of a few words, or a list of such.

use std::fmt;

use super::ConfigValue;
use super::choices::parse_choice;

/// Options for a kind of disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PredefinedOptions {
    /// RocksDB's own.
    #[default]
    Default,
    /// For disks that turn.
    SpinningDiskOptimized,
    /// The same, with much memory.
    SpinningDiskOptimizedHighMem,
    /// For disks that do not.
    FlashSsdOptimized,
}

impl fmt::Display for PredefinedOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PredefinedOptions::Default => "DEFAULT",
            PredefinedOptions::SpinningDiskOptimized => "SPINNING_DISK_OPTIMIZED",
            PredefinedOptions::SpinningDiskOptimizedHighMem => "SPINNING_DISK_OPTIMIZED_HIGH_MEM",
            PredefinedOptions::FlashSsdOptimized => "FLASH_SSD_OPTIMIZED",
        })
    }
}

impl ConfigValue for PredefinedOptions {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "PredefinedOptions",
            &[
                PredefinedOptions::Default,
                PredefinedOptions::SpinningDiskOptimized,
                PredefinedOptions::SpinningDiskOptimizedHighMem,
                PredefinedOptions::FlashSsdOptimized,
            ],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// How RocksDB compacts its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CompactionStyle {
    /// Level by level.
    Level,
    /// All files of a size together.
    Universal,
    /// The oldest files are dropped: a state that is full loses entries.
    Fifo,
    /// Not at all.
    None,
}

impl fmt::Display for CompactionStyle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CompactionStyle::Level => "LEVEL",
            CompactionStyle::Universal => "UNIVERSAL",
            CompactionStyle::Fifo => "FIFO",
            CompactionStyle::None => "NONE",
        })
    }
}

impl ConfigValue for CompactionStyle {
    fn parse(text: &str) -> Result<Self, String> {
        parse_choice(
            text,
            "CompactionStyle",
            &[
                CompactionStyle::Level,
                CompactionStyle::Universal,
                CompactionStyle::Fifo,
                CompactionStyle::None,
            ],
        )
    }

    fn to_text(&self) -> String {
        self.to_string()
    }
}

/// How a level of files is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// By Snappy.
    Snappy,
    /// By zlib.
    Zlib,
    /// By bzip2.
    Bzip2,
    /// By LZ4.
    Lz4,
    /// By LZ4, slower and smaller.
    Lz4hc,
    /// By Zstandard.
    Zstd,
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "NO_COMPRESSION",
            Compression::Snappy => "SNAPPY_COMPRESSION",
            Compression::Zlib => "ZLIB_COMPRESSION",
            Compression::Bzip2 => "BZLIB2_COMPRESSION",
            Compression::Lz4 => "LZ4_COMPRESSION",
            Compression::Lz4hc => "LZ4HC_COMPRESSION",
            Compression::Zstd => "ZSTD_COMPRESSION",
        })
    }
}

/// The compression of each level, from the first on; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompressionPerLevel(pub Vec<Compression>);

impl ConfigValue for CompressionPerLevel {
    fn parse(text: &str) -> Result<Self, String> {
        let level = |word: &str| {
            parse_choice(
                word,
                "CompressionType",
                &[
                    Compression::None,
                    Compression::Snappy,
                    Compression::Zlib,
                    Compression::Bzip2,
                    Compression::Lz4,
                    Compression::Lz4hc,
                    Compression::Zstd,
                ],
            )
        };
        let levels = text.split(';').map(level);
        levels.collect::<Result<_, _>>().map(CompressionPerLevel)
    }

    fn to_text(&self) -> String {
        let words: Vec<String> = self.0.iter().map(Compression::to_string).collect();
        words.join(";")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_separated_by_semicolons_and_read_back() {
        let text = "NO_COMPRESSION;NO_COMPRESSION;LZ4_COMPRESSION";
        let levels = CompressionPerLevel::parse(text).expect("levels");
        let expected = [Compression::None, Compression::None, Compression::Lz4];
        assert_eq!(levels.0, expected);
        assert_eq!(levels.to_text(), text);
        assert!(CompressionPerLevel::parse("").is_err());
        assert!(CompressionPerLevel::parse("SNAPPY_COMPRESSION;x").is_err());
    }
}
