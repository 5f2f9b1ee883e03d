//! Evictors: which records of a window are left out before it is computed, or dropped after.

use millpond_serializer::StreamRecord;

/// Removes records from a window that fires; what is removed is gone from its state too.
pub trait Evictor<T, W>: Clone + Send + Sync + 'static {
    /// Removes records before the window is computed; they are in the order of their arrival.
    fn evict_before(&self, records: &mut Vec<StreamRecord<T>>, window: &W);

    /// Removes records after the window was computed.
    fn evict_after(&self, _records: &mut Vec<StreamRecord<T>>, _window: &W) {}
}

/// Keeps the newest records, so many of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CountEvictor {
    max_count: usize,
}

impl CountEvictor {
    /// Keeps `max_count` records.
    pub fn of(max_count: u32) -> Self {
        CountEvictor {
            max_count: max_count as usize,
        }
    }
}

impl<T, W> Evictor<T, W> for CountEvictor {
    fn evict_before(&self, records: &mut Vec<StreamRecord<T>>, _window: &W) {
        records.drain(..records.len().saturating_sub(self.max_count));
    }
}

/// Keeps the records that are not much older than the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEvictor {
    size_ms: i64,
}

impl TimeEvictor {
    /// Keeps records whose timestamp is less than `size` below the highest. Records without
    /// timestamps are all kept.
    pub fn of(size: std::time::Duration) -> Self {
        TimeEvictor {
            size_ms: i64::try_from(size.as_millis()).unwrap_or(i64::MAX),
        }
    }
}

impl<T, W> Evictor<T, W> for TimeEvictor {
    fn evict_before(&self, records: &mut Vec<StreamRecord<T>>, _window: &W) {
        // Flink asks the first record whether there are timestamps.
        if records
            .first()
            .is_none_or(|first| first.timestamp.is_none())
        {
            return;
        }
        let highest = records.iter().filter_map(|record| record.timestamp).max();
        let Some(highest) = highest else { return };
        let cutoff = highest.saturating_sub(self.size_ms);
        records.retain(|record| record.timestamp.unwrap_or(i64::MIN) > cutoff);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(timestamps: &[i64]) -> Vec<StreamRecord<i64>> {
        let record = |timestamp: &i64| StreamRecord {
            timestamp: Some(*timestamp),
            value: *timestamp,
        };
        timestamps.iter().map(record).collect()
    }

    #[test]
    fn evictors_keep_the_newest_by_arrival_or_by_time() {
        let mut found = records(&[5, 1, 9, 4]);
        CountEvictor::of(3).evict_before(&mut found, &());
        assert_eq!(found, records(&[1, 9, 4]));
        let mut found = records(&[5, 1, 9, 4]);
        TimeEvictor::of(std::time::Duration::from_millis(5)).evict_before(&mut found, &());
        assert_eq!(found, records(&[5, 9]));
    }
}
