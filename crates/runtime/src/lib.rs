//! The data plane: the only importer of timely.
