//! Where operators put what they make.

use std::collections::VecDeque;
use std::marker::PhantomData;

use crate::batch::{BATCH_RECORDS, Batch, Data};
use crate::element::{Element, NO_TIMESTAMP};

/// The main output or a side output of an operator.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Port {
    /// What `collect` writes to.
    Main,
    /// The side output of this tag name.
    Side(String),
}

/// Names a side output and the type of its records.
///
/// # Examples
///
/// ```
/// use millpond_operator::SideTag;
/// const LATE: SideTag<String> = SideTag::new("late");
/// assert_eq!(LATE.name(), "late");
/// ```
pub struct SideTag<T> {
    name: &'static str,
    records: PhantomData<fn() -> T>,
}

impl<T> SideTag<T> {
    /// A tag; two tags of one name are the same side output.
    pub const fn new(name: &'static str) -> Self {
        SideTag {
            name,
            records: PhantomData,
        }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for SideTag<T> {
    fn clone(&self) -> Self {
        SideTag::new(self.name)
    }
}

/// The elements that an operator has made and that have not been carried on.
#[derive(Default)]
pub struct Output {
    elements: VecDeque<(Port, Element)>,
    records: usize,
}

impl Output {
    /// Puts an element behind those already there.
    pub fn push(&mut self, port: Port, element: Element) {
        if let Element::Records(batch) = &element {
            self.records += batch.len();
        }
        self.elements.push_back((port, element));
    }

    /// Puts a watermark into the main output and thereby into all side outputs.
    pub fn watermark(&mut self, timestamp: i64) {
        self.push(Port::Main, Element::Watermark(timestamp));
    }

    /// Takes the oldest element.
    pub fn pop(&mut self) -> Option<(Port, Element)> {
        let (port, element) = self.elements.pop_front()?;
        if let Element::Records(batch) = &element {
            self.records -= batch.len();
        }
        Some((port, element))
    }

    /// Whether so much waits here that the operator should pause and be resumed.
    pub fn is_full(&self) -> bool {
        self.records >= 4 * BATCH_RECORDS
    }

    /// Number of records that wait here.
    pub fn records(&self) -> usize {
        self.records
    }
}

/// Collects records of one type into batches.
pub struct Collector<T> {
    batch: Batch<T>,
    timestamp: i64,
    full: VecDeque<(Port, Element)>,
    full_records: usize,
}

impl<T: Data> Default for Collector<T> {
    fn default() -> Self {
        Collector {
            batch: Batch::default(),
            timestamp: NO_TIMESTAMP,
            full: VecDeque::new(),
            full_records: 0,
        }
    }
}

impl<T: Data> Collector<T> {
    /// Emits a record with the timestamp of the record being processed.
    #[inline]
    pub fn collect(&mut self, record: T) {
        self.collect_with_timestamp(record, self.timestamp);
    }

    /// Emits a record with a timestamp of its own, in milliseconds.
    #[inline]
    pub fn collect_with_timestamp(&mut self, record: T, timestamp: i64) {
        if self.batch.rows.capacity() == 0 {
            self.batch.rows.reserve_exact(BATCH_RECORDS);
        }
        if timestamp != NO_TIMESTAMP || !self.batch.timestamps.is_empty() {
            self.push_timestamp(timestamp);
        }
        self.batch.rows.push(record);
        if self.batch.rows.len() == BATCH_RECORDS {
            self.close_batch();
        }
    }

    fn push_timestamp(&mut self, timestamp: i64) {
        // Earlier records of this batch had none.
        self.batch
            .timestamps
            .resize(self.batch.rows.len(), NO_TIMESTAMP);
        self.batch.timestamps.push(timestamp);
    }

    fn close_batch(&mut self) {
        self.full_records += self.batch.rows.len();
        let batch = std::mem::take(&mut self.batch);
        self.full
            .push_back((Port::Main, Element::Records(Box::new(batch))));
    }

    /// Emits a record to a side output with the timestamp of the record being processed.
    pub fn output<S: Data>(&mut self, tag: &SideTag<S>, record: S) {
        let timestamps = match self.timestamp {
            NO_TIMESTAMP => Vec::new(),
            timestamp => vec![timestamp],
        };
        let batch = Batch {
            rows: vec![record],
            timestamps,
            key_groups: Vec::new(),
        };
        self.full_records += 1;
        self.full.push_back((
            Port::Side(tag.name().to_owned()),
            Element::Records(Box::new(batch)),
        ));
    }

    /// Sets the timestamp that [`Collector::collect`] gives, in milliseconds.
    #[inline]
    pub fn set_timestamp(&mut self, timestamp: i64) {
        self.timestamp = timestamp;
    }

    /// Whether so much has been collected that the operator should pause.
    #[inline]
    pub fn is_full(&self) -> bool {
        self.full_records >= 4 * BATCH_RECORDS
    }

    /// Hands everything collected to `output`, in order.
    pub fn flush(&mut self, output: &mut Output) {
        if !self.batch.rows.is_empty() {
            self.close_batch();
        }
        self.full_records = 0;
        for (port, element) in self.full.drain(..) {
            output.push(port, element);
        }
    }
}
