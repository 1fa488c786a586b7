//! Who is placed first, where, and what is asked of the cluster meanwhile.

use super::*;

impl Stage {
    fn submit_as(&mut self, call: &str, resources: &str, priority: i64, hold_ms: Option<u64>) -> (TaskId, Vec<Output>) {
        let LauncherCall::Submit(mut wanted) = submission("t", 1, resources) else { unreachable!() };
        wanted.priority = priority;
        wanted.hold_ms = hold_ms;
        let (answer, outputs) = self.call(call, LauncherCall::Submit(wanted));
        let AnswerBody::Submitted { tasks, .. } = answer.body else { panic!("{answer:?}") };
        (tasks[0].clone(), outputs)
    }

    fn set_priority(&mut self, task: &TaskId, priority: i64) -> (u16, Vec<Output>) {
        let (answer, outputs) = self.call("p", LauncherCall::SetPriority { task: task.clone(), priority });
        (answer.status, outputs)
    }

    fn offers(&mut self, offers: &[(&str, &str)]) -> Vec<Output> {
        let offers = offers.iter().map(|(agent, resources)| self.make_offer(agent, resources, "*")).collect();
        self.event(Event::Offers(offers))
    }
}

fn requests(outputs: &[Output]) -> Vec<Request> {
    let asked = outputs.iter().rev().find_map(|output| match output {
        Output::Request(requests) => Some(requests.clone()),
        _ => None,
    });
    asked.unwrap_or_else(|| panic!("{outputs:?}"))
}

/// How many tasks went to each agent.
fn spread(outputs: &[Output]) -> Vec<(String, usize)> {
    let mut on = BTreeMap::new();
    for output in outputs {
        if let Output::Accept { tasks, .. } = output {
            *on.entry(tasks[0].agent.to_string()).or_insert(0) += tasks.len();
        }
    }
    on.into_iter().collect()
}

#[test]
fn the_highest_priority_goes_first_then_the_oldest() {
    let mut stage = Stage::new();
    let (low, _) = stage.submit_as("c1", "cpus:1", -1, None);
    let (old, _) = stage.submit_as("c2", "cpus:1", 0, None);
    let (new, _) = stage.submit_as("c3", "cpus:1", 0, None);
    let (high, _) = stage.submit_as("c4", "cpus:1", 9, None);
    for task in [high, old, new, low] {
        assert_eq!(placed(&stage.offer("a", "cpus:1")), [task]);
    }
}

#[test]
fn a_waiting_task_takes_the_place_of_its_new_priority() {
    let mut stage = Stage::new();
    let (tasks, _) = stage.submit("c1", "a", 3, "cpus:1");
    let (status, outputs) = stage.set_priority(&tasks[2], 5);
    assert_eq!((status, kinds(&outputs)), (202, vec!["request"]));
    assert_eq!(stage.row(&tasks[2]).priority, 5);
    let wanted: Vec<(Option<i64>, u32)> =
        requests(&outputs).iter().map(|request| (request.priority, request.count)).collect();
    assert_eq!(wanted, [(Some(5), 1), (None, 2)]);
    stage.fail_over();
    stage.event(Event::Subscribed("f".into()));
    assert_eq!(placed(&stage.offer("a", "cpus:1")), [tasks[2].clone()], "the next leader knows it too");
    let outputs = stage.offer("b", "cpus:1");
    let Output::Accept { tasks: launched, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert_eq!(launched[0].priority, 0);

    assert_eq!(stage.set_priority(&"nobody".into(), 1).0, 404);
    stage.update(&tasks[2], TaskState::Finished);
    assert_eq!(stage.set_priority(&tasks[2], 1).0, 409);
}

#[test]
fn load_spreads_over_what_is_offered() {
    let mut stage = Stage::new();
    stage.submit("c1", "a", 4, "cpus:1;mem:10");
    let whole = "cpus:4;mem:100";
    let outputs = stage.offers(&[("a", whole), ("b", whole), ("c", whole), ("d", whole)]);
    assert_eq!(spread(&outputs), ["a", "b", "c", "d"].map(|agent| (agent.to_owned(), 1)));
}

#[test]
fn the_emptiest_agent_is_taken_and_not_the_rest_of_one_in_use() {
    let mut stage = Stage::new();
    stage.submit("c1", "a", 1, "cpus:1;mem:10");
    let outputs = stage.offers(&[("a", "cpus:3;mem:90"), ("b", "cpus:4;mem:100"), ("c", "cpus:4;mem:20")]);
    assert_eq!(spread(&outputs), [("b".to_owned(), 1)]);
    // Of equal ones the one without a task of ours.
    stage.submit("c2", "a", 1, "cpus:1;mem:10");
    let outputs = stage.offers(&[("b", "cpus:3;mem:90"), ("d", "cpus:3;mem:90")]);
    assert_eq!(spread(&outputs), [("d".to_owned(), 1)]);
    // Of those that are equal in all the one that came first.
    stage.submit("c3", "a", 1, "cpus:1;mem:10");
    let outputs = stage.offers(&[("z", "cpus:3;mem:90"), ("y", "cpus:3;mem:90")]);
    assert_eq!(spread(&outputs), [("z".to_owned(), 1)]);
}

#[test]
fn agents_with_gpus_are_kept_for_those_who_want_some() {
    let mut stage = Stage::new();
    let (plain, _) = stage.submit_as("c1", "cpus:1", 0, None);
    let offers = [("gpu", "cpus:64;gpus:4"), ("small", "cpus:1")];
    assert_eq!(spread(&stage.offers(&offers)), [("small".to_owned(), 1)]);
    assert_eq!(stage.row(&plain).agent, Some("small".into()));
    stage.submit_as("c2", "cpus:1;gpus:1", 0, None);
    assert_eq!(spread(&stage.offers(&offers)), [("gpu".to_owned(), 1)]);
}

#[test]
fn equal_tasks_are_one_request_with_their_number() {
    let mut stage = Stage::new();
    stage.submit("c1", "a", 3, "cpus:1");
    let (_, outputs) = stage.submit("c2", "b", 2, "cpus:1");
    let all = requests(&outputs);
    assert_eq!(all.len(), 1, "{all:?}");
    assert_eq!((all[0].count, all[0].role.clone(), all[0].hold_ms), (5, Some("*".into()), None));
    assert_eq!(all[0].resources, parse("cpus:1", "*").unwrap());
    let outputs = stage.offer("a", "cpus:2");
    assert_eq!(requests(&outputs)[0].count, 3);
    assert!(requests(&stage.offer("a", "cpus:8")).is_empty(), "nothing is wanted any more");
    let outputs = stage.pass(Duration::from_secs(60));
    assert!(!kinds(&outputs).contains(&"request"), "it is said once: {outputs:?}");
}

#[test]
fn a_task_for_which_room_is_held_has_a_request_of_its_own() {
    let mut stage = Stage::new();
    let (small, _) = stage.submit_as("c1", "cpus:1", 0, None);
    let (held, outputs) = stage.submit_as("c2", "cpus:64", 3, Some(60_000));
    let all = requests(&outputs);
    assert_eq!((all[0].name.as_str(), all[0].hold_ms, all[0].count), (held.as_str(), Some(60_000), 1));
    assert_eq!((all[1].name.as_str(), all[1].hold_ms), ("", None));
    stage.pass(Duration::from_secs(20));
    stage.fail_over();
    let all = requests(&stage.event(Event::Subscribed("f".into())));
    assert_eq!(all[0].hold_ms, Some(40_000), "not longer than it was asked for");
    stage.pass(Duration::from_secs(50));
    let (_, outputs) = stage.call("k", LauncherCall::Kill { task: small, grace_ms: None });
    let all = requests(&outputs);
    assert_eq!((all.len(), all[0].hold_ms), (1, None), "it goes on waiting without");
}

#[test]
fn many_different_wants_are_told_in_the_order_of_placing_up_to_a_bound() {
    let mut stage = Stage::new();
    let mut last = Vec::new();
    for number in 1..=40_u32 {
        last = stage.submit_as(&format!("c{number}"), &format!("cpus:{number}"), i64::from(number), None).1;
    }
    let all = requests(&last);
    assert_eq!(all.len(), 32);
    assert_eq!((all[0].priority, all[31].priority), (Some(40), Some(9)));
}

/// Reserved for a role by whoever comes first.
fn reserved(text: &str, role: &str) -> Resources {
    let entries = parse(text, "*").unwrap();
    let reservation = mesos_model::Reservation {
        kind: mesos_model::ReservationKind::Dynamic,
        role: role.into(),
        principal: None,
        labels: Vec::new(),
    };
    let qualifier = mesos_model::resources::Qualifier { reservations: vec![reservation], ..Default::default() };
    let qualifier = std::sync::Arc::new(qualifier);
    let entries =
        entries.iter().map(|entry| mesos_model::Resource { qualifier: Some(qualifier.clone()), ..entry.clone() });
    Resources::try_from_entries(entries).unwrap()
}

#[test]
fn what_a_task_needs_reserved_is_reserved_as_far_as_it_is_not() {
    let wanted = parse("cpus:1", "*").unwrap().plus(&reserved("disk:100", "ads"));
    for (offered, taken, reserve) in [
        ("cpus:4;disk:500", Some("cpus:1; disk(ads):100"), "disk(ads):100"),
        ("cpus:4;disk:500;disk(ads):30", Some("cpus:1; disk(ads):70; disk(ads):30"), "disk(ads):70"),
        ("cpus:4;disk(ads):300", Some("cpus:1; disk(ads):100"), ""),
        ("cpus:4;disk:50;disk(eng):300", None, ""),
    ] {
        let allotment = placing::allot(&wanted, &parse(offered, "*").unwrap());
        // Static reservations and ours are two entries.
        let mut found = allotment.as_ref().map(|found| found.resources.to_string());
        if let (Some(found), Some(taken)) = (&mut found, taken) {
            let (mut left, mut right): (Vec<_>, Vec<_>) = (found.split("; ").collect(), taken.split("; ").collect());
            left.sort_unstable();
            right.sort_unstable();
            assert_eq!(left, right, "{offered}");
        }
        assert_eq!(found.is_some(), taken.is_some(), "{offered}");
        assert_eq!(allotment.unwrap_or_default().reserve.to_string(), reserve, "{offered}");
    }
}

#[test]
fn a_reservation_is_used_again_by_the_next_task_that_needs_one() {
    let mut stage = Stage::new();
    let LauncherCall::Submit(mut wanted) = submission("t", 2, "cpus:1") else { unreachable!() };
    wanted.role = "ads".into();
    wanted.resources = wanted.resources.plus(&reserved("disk:100", "ads"));
    let (_, outputs) = stage.call("c1", LauncherCall::Submit(wanted));
    assert_eq!(requests(&outputs)[0].resources.to_string(), "cpus:1; disk:100", "asked for as it is before");
    let offer = stage.make_offer("a", "cpus:8;disk:250", "ads");
    let outputs = stage.event(Event::Offers(vec![offer]));
    let accepted: Vec<&Placed> = outputs
        .iter()
        .flat_map(|output| match output {
            Output::Accept { tasks, .. } => &tasks[..],
            _ => &[],
        })
        .collect();
    assert_eq!(accepted.len(), 2, "{outputs:?}");
    assert!(accepted.iter().all(|placed| placed.reserve == reserved("disk:100", "ads")));
    let LauncherCall::Submit(mut next) = submission("t", 1, "cpus:1") else { unreachable!() };
    next.role = "ads".into();
    next.resources = next.resources.plus(&reserved("disk:100", "ads"));
    stage.call("c2", LauncherCall::Submit(next));
    let mut offer = stage.make_offer("a", "cpus:8", "ads");
    offer.resources.add(&reserved("disk:100", "ads"));
    let outputs = stage.event(Event::Offers(vec![offer]));
    let Output::Accept { tasks, .. } = &outputs[0] else { panic!("{outputs:?}") };
    assert!(tasks[0].reserve.is_empty() && tasks[0].resources.to_string().contains("disk(ads):100"));
}
