//! Snapshots as they are looked at: what is read, what is checked, what is compared.

mod conformance;
mod damage;
mod diff;
mod files;
mod fixture;
mod reading;
mod verifying;
