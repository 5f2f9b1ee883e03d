//! `config.yaml`, and `-D key=value`: everything that a job makes of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use millpond::fuzzing::configuration;
use millpond_fuzz::{seeds, within};
use millpond_types::config::{Configuration, parse_duration};

/// Options whose values are of every kind.
const FILES: [&str; 4] = [
    "execution:\n  checkpointing:\n    interval: 1s\n    num-retained: 3\n    timeout: 10 min\nparallelism.default: 2\n",
    "restart-strategy:\n  type: exponential-delay\n  exponential-delay:\n    backoff-multiplier: 1.5\n    jitter-factor: 0.1\n    initial-backoff: 100 ms\n",
    "execution.checkpointing.data-inline-threshold: 20kb\nrest.bind-port: 8081-8090,9000\nexecution.checkpointing.mode: AT_LEAST_ONCE\n",
    "cluster.processes: 2\nheartbeat.interval: 1000\nheartbeat.timeout: 5000\nlist: [a, 1, true]\n\"quoted key\": 'it''s'\nanchor: &a 1\nalias: *a\n",
];

fuzz_target!(
    init: seeds(|put| FILES.iter().for_each(|text| put(text.as_bytes().to_vec()))),
    |bytes: &[u8]| within(bytes.len(), || {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        configuration(text);
        Configuration::new().parse_dynamic(text).ok();
        parse_duration(text).ok();
        Configuration::from_environment(text).ok();
    })
);
