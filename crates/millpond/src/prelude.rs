//! Everything that a job usually needs.

pub use std::time::Duration;

pub use crate::{DataStream, Environment, KeyedStream};
pub use millpond_connectors::{DiscardSink, FileSink, FileSource, GeneratorSource, PrintSink};
pub use millpond_operator::functions::broadcast::{
    BroadcastContext, BroadcastProcessFunction, KeyedBroadcastContext,
    KeyedBroadcastProcessFunction, KeyedReadOnlyContext, MapStateDescriptor, ReadOnlyContext,
};
pub use millpond_operator::functions::co::{CoProcessFunction, KeyedCoProcessFunction};
pub use millpond_operator::functions::window::trigger::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, EventTimeTrigger,
    NeverTrigger, ProcessingTimeTrigger, PurgingTrigger, Trigger, TriggerContext, TriggerResult,
};
pub use millpond_operator::functions::window::{
    CountEvictor, EventTimeSessionWindows, Evictor, GlobalWindows, PerWindow,
    ProcessWindowFunction, ProcessingTimeSessionWindows, SlidingEventTimeWindows,
    SlidingProcessingTimeWindows, TimeEvictor, TumblingEventTimeWindows,
    TumblingProcessingTimeWindows, Window, WindowAssigner, WindowContext, WindowOpenContext,
    WindowStates,
};
pub use millpond_operator::functions::{
    FunctionOpenContext, KeyedContext, KeyedOpenContext, KeyedProcessFunction, ProcessContext,
    ProcessFunction, TimeDomain, WatermarkStrategy,
};
pub use millpond_operator::source::{InputStatus, SourceFunction};
pub use millpond_operator::{Collector, FunctionError, Result as FunctionResult, SideTag};
pub use millpond_serializer::{
    FlinkEnum, FlinkKey, FlinkPojo, FlinkType, GlobalWindow, TimeWindow,
};
pub use millpond_state::{
    AggregateFunction, AggregatingState, BroadcastState, ListState, MapState, OperatorListState,
    ReadOnlyBroadcastState, ReducingState, StateTtlConfig, TtlUpdateType, TtlVisibility,
    ValueState,
};
