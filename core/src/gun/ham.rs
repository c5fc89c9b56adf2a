//! Gun's conflict rule: which of two values of one field holds. Pure. Not here: where fields are kept
//! ([`graph`](super::graph)).

use std::cmp::Ordering;

use super::value::Cell;

/// What becomes of an incoming field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is newer, or wins among equals.
    Apply,
    /// It is what is known already.
    Same,
    /// It is older, or loses among equals.
    Drop,
    /// It is dated in the future and waits until then.
    Defer,
}

/// Judges a field by the clock of whoever stores it, in milliseconds since 1970.
pub fn judge(now_ms: f64, incoming: &Cell, known: Option<&Cell>) -> Verdict {
    if incoming.state > now_ms {
        return Verdict::Defer;
    }
    let Some(known) = known else { return Verdict::Apply };
    match incoming.state.partial_cmp(&known.state) {
        Some(Ordering::Greater) => Verdict::Apply,
        Some(Ordering::Equal) => match incoming.value.js_order(&known.value) {
            Ordering::Greater => Verdict::Apply,
            Ordering::Equal => Verdict::Same,
            Ordering::Less => Verdict::Drop,
        },
        Some(Ordering::Less) | None => Verdict::Drop,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gun::value::Value;

    fn cell(value: impl Into<Value>, state: f64) -> Cell {
        Cell { value: value.into(), state }
    }

    #[test]
    fn later_states_win_and_equal_ones_compare_texts() {
        let known = cell(10.0, 100.0);
        assert_eq!(judge(200.0, &cell("x", 100.5), Some(&known)), Verdict::Apply);
        assert_eq!(judge(200.0, &cell("x", 99.0), Some(&known)), Verdict::Drop);
        assert_eq!(judge(200.0, &cell(9.0, 100.0), Some(&known)), Verdict::Apply, "`9` is after `10` as text");
        assert_eq!(judge(200.0, &cell(10.0, 100.0), Some(&known)), Verdict::Same);
        assert_eq!(judge(200.0, &cell("x", 100.0), Some(&known)), Verdict::Drop);
        assert_eq!(judge(200.0, &cell("x", 200.5), Some(&known)), Verdict::Defer);
        assert_eq!(judge(200.0, &cell("x", 0.0), None), Verdict::Apply);
    }

    #[test]
    fn the_order_of_arrival_does_not_matter() {
        let cells = [cell("a", 1.0), cell("b", 1.0), cell(true, 1.0), cell("z", 2.0), cell("y", 2.0)];
        let winner = |order: &[usize]| {
            let mut held: Option<Cell> = None;
            for index in order {
                if judge(9.0, &cells[*index], held.as_ref()) == Verdict::Apply {
                    held = Some(cells[*index].clone());
                }
            }
            held
        };
        let expected = Some(cell("z", 2.0));
        for order in [[0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 4, 0, 3, 1], [3, 0, 4, 1, 2]] {
            assert_eq!(winner(&order), expected);
        }
    }
}
