//! Changes of routes: lines in, changes and complaints out.

use crate::machine::Machine;
use flumen::control::protocol::{Change, Changed, MAX_CHANGES};
use flumen::control::provider::RouteChange;
use flumen::control::routes::change;

fn told(changes: &[Change]) -> (Changed, Vec<RouteChange>) {
    let mut machine = Machine::default();
    let changed = change(changes, &mut machine).unwrap();
    (changed, machine.made)
}

#[test]
fn good_lines_are_made_in_order_and_bad_ones_say_where_they_are_wrong() {
    let (changed, made) = told(&[
        Change::Add("198.51.100.0/24 via 192.0.2.254 metric 7".into()),
        Change::Add("203.0.113.0/24 via 192.0.2.254 port lna".into()),
        Change::Replace("203.0.113.0/24 blackhole metric 4 # why not".into()),
        Change::Del("203.0.113.0/24 metric 4".into()),
        Change::Del("203.0.113.0/24 via 192.0.2.254".into()),
        Change::Add(" # nothing".into()),
        Change::Add("10.0.0.1/8 blackhole".into()),
        Change::Add("10.0.0.0/8 via 10.1.1.1".into()),
    ]);
    assert_eq!(changed.done, 3);
    let [
        RouteChange::Add(first),
        RouteChange::Replace(second),
        RouteChange::Remove { prefix, metric: 4, table: _ },
    ] = made.as_slice()
    else {
        panic!("{made:?}")
    };
    assert_eq!((first.to.to_string().as_str(), first.metric), ("198.51.100.0/24", 7));
    assert_eq!(second.to, *prefix);
    let refused: Vec<_> = changed.refused.iter().map(|r| (r.index, r.offset)).collect();
    assert_eq!(refused, [(1, Some(36)), (4, Some(15)), (5, None), (6, Some(0)), (7, Some(11))]);
    assert_eq!(changed.refused[0].why.message, "there is no port `lna`");
    assert_eq!(changed.refused[0].why.help.as_deref(), Some("did you mean `lan`?"));
    assert!(changed.refused[4].why.message.contains("not on-link"), "{:?}", changed.refused[4]);
}

#[test]
fn what_the_table_refuses_is_told_with_its_place() {
    let (changed, _) = told(&[
        Change::Add("nonsense".into()),
        Change::Add("10.0.0.0/8 blackhole".into()),
        Change::Add("10.0.0.0/8 blackhole".into()),
    ]);
    assert_eq!(changed.done, 1);
    assert_eq!(changed.refused.iter().map(|r| r.index).collect::<Vec<_>>(), [0, 2]);
    assert_eq!(changed.refused[1].why.message, "there is such a route already");
}

#[test]
fn as_many_changes_as_the_bound_are_made_and_one_more_is_none() {
    let many: Vec<_> = (0..=MAX_CHANGES)
        .map(|n| Change::Add(format!("10.{}.{}.0/24 blackhole", n / 256, n % 256)))
        .collect();
    let (changed, made) = told(&many[1..]);
    assert_eq!((changed.done, made.len()), (MAX_CHANGES, MAX_CHANGES));
    let mut machine = Machine::default();
    assert!(change(&many, &mut machine).is_err());
    assert!(machine.made.is_empty());
}
