//! ICE candidates as text: any line is a candidate or an error, and a candidate's own line is read as the same candidate.
#![no_main]

use dig_nat_core::base::limits;
use dig_nat_core::nat::ice::Candidate;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|line: &str| {
    let Ok(candidate) = line.parse::<Candidate>() else { return };
    assert!(line.len() <= limits::MAX_ICE_LINE_BYTES);
    assert!((1..=32).contains(&candidate.foundation.len()));
    assert!((1..=0x7fff_ffff).contains(&candidate.priority));
    assert_eq!(candidate.to_string().parse(), Ok(candidate));
});
