//! A Parquet file that appears when it is whole.
//!
//! Batches are encoded as they come; a row group ends when its pages are large enough, so that
//! the memory does not grow with the file.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use datafusion::arrow::datatypes::SchemaRef;
use datafusion::arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;

use crate::Error;

/// A row group ends when so many encoded bytes of it are in memory.
const ROW_GROUP_BYTES: usize = 64 << 20;

/// A Parquet file that is being written under another name.
pub(crate) struct ParquetFile {
    /// `None` when it has been finished.
    writer: Option<ArrowWriter<File>>,
    part: PathBuf,
    file: PathBuf,
    rows: u64,
}

impl ParquetFile {
    pub(crate) fn create(file: &Path, schema: SchemaRef) -> Result<Self, Error> {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(".part");
        let part = file.with_file_name(name);
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .build();
        let mut new = ParquetFile {
            writer: None,
            file: file.to_owned(),
            rows: 0,
            part,
        };
        let out = File::create(&new.part)?;
        let writer = ArrowWriter::try_new(out, schema, Some(properties));
        new.writer = Some(writer.map_err(failed)?);
        Ok(new)
    }

    pub(crate) fn write(&mut self, batch: &RecordBatch) -> Result<(), Error> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        writer.write(batch).map_err(failed)?;
        if writer.in_progress_size() >= ROW_GROUP_BYTES {
            writer.flush().map_err(failed)?;
        }
        self.rows += batch.num_rows() as u64;
        Ok(())
    }

    /// Gives the file its name; returns the number of rows.
    pub(crate) fn finish(mut self) -> Result<u64, Error> {
        if let Some(writer) = self.writer.take() {
            let file = writer.into_inner().map_err(failed)?;
            file.sync_all()?;
        }
        std::fs::rename(&self.part, &self.file)?;
        Ok(self.rows)
    }
}

impl Drop for ParquetFile {
    fn drop(&mut self) {
        // A finished file has another name by now.
        std::fs::remove_file(&self.part).ok();
    }
}

fn failed(error: ParquetError) -> Error {
    let told =
        |error: &dyn std::fmt::Display| Error::failed(format!("cannot write Parquet: {error}"));
    let ParquetError::External(cause) = error else {
        return told(&error);
    };
    match cause.downcast::<io::Error>() {
        Ok(io) => (*io).into(),
        Err(other) => told(&other),
    }
}
