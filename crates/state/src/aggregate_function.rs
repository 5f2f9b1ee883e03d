//! Aggregation: what an aggregating state and a window do with the values that are added.

use millpond_serializer::FlinkType;

/// Folds values into an accumulator, from which a result can be had at any time.
///
/// # Examples
///
/// ```
/// use millpond_state::AggregateFunction;
///
/// struct Average;
///
/// impl AggregateFunction for Average {
///     type In = i64;
///     type Accumulator = (i64, i64);
///     type Out = f64;
///
///     fn create_accumulator(&self) -> (i64, i64) {
///         (0, 0)
///     }
///
///     fn add(&self, value: i64, (sum, count): &mut (i64, i64)) {
///         *sum += value;
///         *count += 1;
///     }
///
///     fn get_result(&self, (sum, count): &(i64, i64)) -> f64 {
///         *sum as f64 / *count as f64
///     }
///
///     fn merge(&self, a: (i64, i64), b: (i64, i64)) -> (i64, i64) {
///         (a.0 + b.0, a.1 + b.1)
///     }
/// }
///
/// let mut accumulator = Average.create_accumulator();
/// Average.add(1, &mut accumulator);
/// Average.add(4, &mut accumulator);
/// assert_eq!(Average.get_result(&accumulator), 2.5);
/// ```
pub trait AggregateFunction: 'static {
    /// What is added.
    type In;
    /// What is kept, and lies in snapshots.
    type Accumulator: FlinkType;
    /// What comes out.
    type Out;

    /// The accumulator before the first value.
    fn create_accumulator(&self) -> Self::Accumulator;

    /// Adds a value.
    fn add(&self, value: Self::In, accumulator: &mut Self::Accumulator);

    /// The result of what was added so far.
    fn get_result(&self, accumulator: &Self::Accumulator) -> Self::Out;

    /// Makes one accumulator of two, as when sessions merge.
    fn merge(&self, a: Self::Accumulator, b: Self::Accumulator) -> Self::Accumulator;
}
