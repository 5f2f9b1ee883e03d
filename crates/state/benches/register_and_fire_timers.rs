//! How many timers per second can be registered and fired?
//!
//! Counted on one thread, in millions per second: registering a timer that is there already (what
//! a window does for most of its records), a new one, and popping all of them with one watermark;
//! for 1e5 and 1e6 `i64` keys over 128 key groups, each with one timer. A surprise would be less
//! than 1 M/s.

#![expect(clippy::print_stdout, reason = "a bench prints what it found")]

use millpond_serializer::TimeWindow;
use millpond_state::KeyedBackend;
use millpond_types::KeyGroupRange;
use std::time::Instant;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    for keys in [100_000i64, 1_000_000] {
        let backend = KeyedBackend::<i64>::new(128, KeyGroupRange::of_subtask(0, 1, 128));
        let timers = backend
            .timers::<TimeWindow>("window-timers")
            .expect("a fresh backend");
        let handle = timers.handle();
        let window = TimeWindow {
            start: 0,
            end: 1000,
        };
        let rate = |start: Instant| keys as f64 / start.elapsed().as_secs_f64() / 1e6;
        // Keys in no visible order; the factor has no divisor in common with their number.
        let register = || {
            let start = Instant::now();
            for number in 0..keys {
                let key = number * 7919 % keys;
                backend.set_current_key(&key, backend.key_group(&key));
                handle.register_event_time(&window, window.max_timestamp());
            }
            rate(start)
        };
        let (new, again) = (register(), register());
        let start = Instant::now();
        let mut fired = 0;
        while timers.pop_event_timer(i64::MAX).is_some() {
            fired += 1;
        }
        let popped = rate(start);
        println!("{fired} timers: new {new:.1} M/s, again {again:.1} M/s, popped {popped:.1} M/s");
        let start = Instant::now();
        for watermark in 0..keys {
            assert!(timers.pop_event_timer(watermark).is_none());
        }
        println!("  watermarks with nothing due {:.0} M/s", rate(start));
    }
}
