//! Everything that a job usually needs.

pub use std::time::Duration;

pub use crate::{DataStream, Environment, KeyedStream};
pub use millpond_connectors::{DiscardSink, FileSink, FileSource, GeneratorSource, PrintSink};
pub use millpond_operator::functions::{
    KeyedContext, KeyedOpenContext, KeyedProcessFunction, ProcessContext, ProcessFunction,
    ProcessOpenContext, TumblingEventTimeWindows, WatermarkStrategy,
};
pub use millpond_operator::source::{InputStatus, SourceFunction, SourceFunctionContext};
pub use millpond_operator::{Collector, FunctionError, Result as FunctionResult, SideTag};
pub use millpond_serializer::{FlinkKey, FlinkType, TimeWindow};
pub use millpond_state::{ListState, MapState, OperatorListState, ReducingState, ValueState};
