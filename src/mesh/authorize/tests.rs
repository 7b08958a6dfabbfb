use super::*;

#[test]
fn without_policies_everybody_may_enter() {
    let connection = Connection {
        peer: None,
        source: [10, 0, 0, 1].into(),
        destination: ([10, 0, 0, 2], 80).into(),
    };
    let verdict = decide(&PolicySet::default(), &connection);
    assert_eq!(verdict.decision, Decision::Allowed { by: None });
}
