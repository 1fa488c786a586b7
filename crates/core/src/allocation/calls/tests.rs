//! Who may call, as scenarios.

use super::super::scenario::plays;

#[test]
fn f70_a_call_is_checked_in_mesos_order_before_anything_is_done() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f principal=alice
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > accept nobody O0
          reply 400 Framework cannot be found
        > accept f O0 principal=mallory
          reply 400 Authenticated principal 'mallory' does not match principal 'alice' set in `FrameworkInfo`
        > accept f O0 stream=none
          reply 400 All non-subscribe calls should include the 'Mesos-Stream-Id' header
        > accept f O0 stream=7
          reply 400 The stream ID included in this request didn't match the stream ID currently associated with framework ID 'f'
        > framework f principal=alice state=lost
        > accept f O0
          reply 403 Framework is not subscribed
        > framework f principal=alice state=removed
        > accept f O0
          reply 400 Framework cannot be found
        ",
    );
}

#[test]
fn f70_a_framework_can_neither_use_nor_decline_the_offers_of_another() {
    plays(
        "
        > lead 1
          all agents: handshake 1
        > framework f
        > report a
          put agent a shook 1
          a: welcome a
          f: offers O0=a@r[cpus:4; mem:4096]
        > framework g
        > accept g O0 run=t:cpus:1
          reply 202
          g: update t TASK_LOST REASON_INVALID_OFFERS Task launched with invalid offers: Offer O0 has invalid framework f while framework g is expected
        > decline g O0
          reply 202
        > decline g O0,nonsense,O00,O7
          reply 202
        > accept f O0 refuse=0
          reply 202
          g: offers O1=a@r[cpus:4; mem:4096]
        ",
    );
}
