//! Peers that speak JSON-RPC, and can do no more harm with it than with frames.

use std::io::Write;

use ipc_tests::{
    broker::{Broker, is_soak},
    eventually::eventually,
    eventually::{SOON, within},
    json_peer::JsonPeer,
    proc,
    scene::Scene,
};
use serde_json::{Value, json};

/// A broker in a process, the bystanders, and the memory that it had then, in KiB.
fn scene() -> (Scene, u32, u64) {
    let mut scene = Scene::at(Broker::in_process(""));
    let pid = scene.broker.daemon().unwrap().pid();
    (scene, pid, proc::resident_kib(pid))
}

#[track_caller]
fn has_not_grown(pid: u32, before: u64, allowed_kib: u64) {
    let grown = proc::resident_kib(pid).saturating_sub(before);
    assert!(grown < allowed_kib, "{grown} KiB were taken");
}

#[test]
fn j01_a_message_without_an_end_takes_no_memory_and_no_time_of_others() {
    let (mut scene, pid, before) = scene();
    let mut endless = JsonPeer::connect(&scene.broker);
    endless.say(r#"{"jsonrpc":"2.0","id":1,"method":"ipc.ping","params":[""#);
    let (piece, pieces) = (vec![b'x'; 1 << 20], if is_soak() { 1_024 } else { 64 });
    for at in 0..pieces {
        if endless.stream().write_all(&piece).is_err() {
            break; // it is cut after frame_ms
        }
        if at % 16 == 0 {
            scene.bystanders_go_on();
        }
    }
    has_not_grown(pid, before, 16 * 1024);
    drop(endless);
    scene.nothing_is_left();
}

#[test]
fn j02_what_is_nested_deep_is_refused_where_it_gets_too_deep() {
    let (mut scene, pid, before) = scene();
    let mut deep = JsonPeer::connect(&scene.broker);
    for text in ["[".repeat(1 << 20), "{\"a\":".repeat(100_000), format!("{{\"params\":{}", "[".repeat(100_000))] {
        deep.say(text + "\n");
        assert_eq!(deep.error(), -32700);
    }
    deep.say(format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ipc.ping\",\"x\":{}{}}}",
        "[".repeat(127),
        "]".repeat(127)
    ));
    assert_eq!(deep.message()["result"], json!({}));
    has_not_grown(pid, before, 16 * 1024);
    drop(deep);
    scene.nothing_is_left();
}

#[test]
fn j03_an_id_of_a_mebibyte_is_not_kept() {
    let (mut scene, pid, before) = scene();
    let mut greedy = JsonPeer::connect(&scene.broker);
    for _ in 0..20 {
        greedy.say(format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ipc.ping"}}"#, "x".repeat(1_000_000)));
        assert_eq!(greedy.error(), -32600);
    }
    has_not_grown(pid, before, 16 * 1024);
    drop(greedy);
    scene.nothing_is_left();
}

#[test]
fn j04_ten_thousand_batches_are_answered_and_leave_nothing() {
    let (mut scene, pid, before) = scene();
    let mut busy = JsonPeer::connect(&scene.broker);
    let ping = |id: u32| json!({"jsonrpc": "2.0", "id": id, "method": "ipc.ping"});
    let batch = json!([ping(1), ping(2), {"jsonrpc": "2.0", "method": "ipc.ping"}]).to_string();
    for _ in 0..100 {
        busy.say(batch.repeat(100));
        (0..100).for_each(|_| assert_eq!(busy.message().as_array().map(Vec::len), Some(2)));
        scene.bystanders_go_on();
    }
    has_not_grown(pid, before, 16 * 1024);
    drop(busy);
    scene.nothing_is_left();
}

#[test]
fn j05_a_batch_over_the_limit_runs_nothing() {
    let (mut scene, ..) = scene();
    let mut many = JsonPeer::connect(&scene.broker);
    let batch = |count| json!(vec![json!({"jsonrpc": "2.0", "id": 1, "method": "nothing"}); count]).to_string();
    let calls = scene.broker.stat("calls");
    many.say(batch(1_025));
    assert_eq!(many.error(), -32600);
    assert!(scene.broker.stat("calls") < calls + 10, "none of them was a call");
    many.say(batch(1_024));
    assert_eq!(many.message().as_array().map(Vec::len), Some(1_024));
    drop(many);
    scene.nothing_is_left();
}

#[test]
fn j06_answers_of_batches_that_are_never_read_are_charged_and_their_caller_is_stopped() {
    let (mut scene, pid, before) = scene();
    let deaf = JsonPeer::connect(&scene.broker);
    deaf.stream().set_nonblocking(true).unwrap();
    let batch =
        json!(vec![json!({"jsonrpc": "2.0", "id": "i".repeat(200), "method": "ipc.limits"}); 1_000]).to_string();
    let mut sent = 0;
    let is_full = || match deaf.stream().write(batch.as_bytes()) {
        Ok(len) => {
            sent += len;
            false
        }
        Err(_) => sent > 0,
    };
    assert!(within(SOON, is_full), "it is not stopped after {sent} bytes");
    scene.bystanders_go_on();
    has_not_grown(pid, before, 64 * 1024);
    deaf.stream().set_nonblocking(false).unwrap();
    drop(deaf);
    scene.nothing_is_left();
}

#[test]
fn j07_calls_of_a_batch_that_never_end_hold_back_nothing_else() {
    let (mut scene, ..) = scene();
    let mut patient = JsonPeer::connect(&scene.broker);
    let wait = json!({"jsonrpc": "2.0", "id": 1, "method": "ipc.wait", "params": {"name": "never"}});
    let ping = json!({"jsonrpc": "2.0", "id": 2, "method": "ipc.ping"});
    (0..1_000).for_each(|_| patient.say(json!([wait, ping]).to_string()));
    assert_eq!(patient.ask("ipc.ping", &json!({})), json!({}));
    scene.bystanders_go_on();
    drop(patient);
    scene.nothing_is_left();
}

#[test]
fn j08_an_answer_to_no_call_is_counted_and_its_sender_is_cut_in_the_end() {
    let (mut scene, ..) = scene();
    let mut stray = JsonPeer::connect(&scene.broker);
    stray.say(r#"{"jsonrpc":"2.0","id":"x","result":1}"#.repeat(17));
    let goodbye = stray.message();
    assert_eq!((&goodbye["method"], &goodbye["params"]["name"]), (&json!("$/goodbye"), &json!("protocol")));
    drop(stray);
    scene.nothing_is_left();
}

#[test]
fn j09_a_message_that_is_never_completed_is_waited_for_no_longer_than_a_frame() {
    let mut scene = Scene::with_config("[limits]\nframe_ms = 200\nhello_ms = 200\n");
    let mut slow = JsonPeer::connect(&scene.broker);
    slow.ask("ipc.ping", &json!({}));
    slow.say("{\"jsonrpc\":");
    assert!(slow.message()["params"]["message"].as_str().unwrap().contains("the rest of a frame did not come"));
    let mut silent = JsonPeer::connect(&scene.broker);
    silent.say("{");
    assert_ne!(silent.line(), "", "a goodbye");
    drop((slow, silent));
    scene.nothing_is_left();
}

#[test]
fn j10_ids_of_calls_that_wait_are_charged_to_their_user() {
    let (mut scene, ..) = scene();
    let mut hoarder = JsonPeer::connect(&scene.broker);
    hoarder.ask("ipc.ping", &json!({}));
    let before = scene.broker.stat("bytes_held");
    let wait = |id: u32| json!({"jsonrpc": "2.0", "id": format!("{id:0200}"), "method": "ipc.wait", "params": {"name": "never"}});
    (0..500).for_each(|id| hoarder.say(wait(id).to_string()));
    let charged = || scene.broker.stat("bytes_held") >= before + 500 * 200;
    eventually(SOON, "500 ids of 200 bytes", charged);
    hoarder.say(r#"{"jsonrpc":"2.0","id":1,"method":"ipc.ping"}"#);
    assert_eq!(hoarder.message()["id"], json!(1));
    let cancel =
        |id: u32| json!({"jsonrpc": "2.0", "method": "$/cancelRequest", "params": {"id": format!("{id:0200}")}});
    (0..500).for_each(|id| hoarder.say(cancel(id).to_string()));
    (0..500).for_each(|_| assert_eq!(hoarder.error(), -32800));
    eventually(SOON, "nothing of them", || scene.broker.stat("bytes_held") <= before);
    drop(hoarder);
    scene.nothing_is_left();
}

#[test]
fn j11_a_stranger_is_denied_and_costs_nothing() {
    if !ipc_tests::broker::is_root() {
        return;
    }
    let (mut scene, ..) = scene();
    let call = r#"{"jsonrpc":"2.0","id":1,"method":"ipc.list"}"#;
    let script = format!("printf '%s' '{call}' | ipcctl rpc");
    let answer: Value =
        serde_json::from_str(&scene.broker.shell(&script).user(ipc_tests::broker::STRANGER).prints_text()).unwrap();
    assert_eq!(answer["error"]["code"], -32006);
    scene.nothing_is_left();
}

#[test]
fn j12_what_peers_that_have_gone_left_in_their_sockets_is_not_kept() {
    let (mut scene, pid, before) = scene();
    for line in ["}\n", "{}\n"] {
        let mut hasty: Vec<_> = (0..8).map(|_| JsonPeer::connect(&scene.broker)).collect();
        for peer in &mut hasty {
            peer.ask("ipc.ping", &json!({}));
            peer.stream().set_nonblocking(true).unwrap();
            let _ = peer.stream().write(line.repeat(120_000).as_bytes()); // as much as the kernel takes
        }
        drop(hasty);
        scene.nothing_is_left();
        has_not_grown(pid, before, 16 * 1024);
    }
    assert!(proc::peak_resident_kib(pid) < before + 64 * 1024, "{} KiB at most", proc::peak_resident_kib(pid));
}
