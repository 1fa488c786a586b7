//! Tasks that exist only in memory: for load, for tests of everything above the containerizer.
//!
//! A mock task starts at once and lives by a little script, its command's value: statements separated by
//! `;`, `&&` or line ends out of `sleep <seconds>`, `exit <code>`, `true` and `false`, or the whole of
//! `mock:run=<duration>,exit=<code>` with `ms`, `s` or `m` (`run=forever` too). Anything else takes no
//! time and does nothing, so `echo Hello` ends at once with 0. All ends wait in one queue of timers.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use mesos_ports::containerizer::{
    Command, ContainerError, ContainerSpec, Containerizer, Exit, Limits, Recovered, Running,
};
use tokio::{
    sync::{Notify, oneshot},
    time::{Instant, sleep_until},
};

const SIGTERM: i32 = 15;

/// Runs nothing, at any number.
pub struct MockContainerizer {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<Tasks>,
    /// Wakes the queue when its first entry changed.
    changed: Notify,
}

#[derive(Default)]
struct Tasks {
    containers: HashMap<String, Task>,
    ends: BinaryHeap<Reverse<(Instant, String)>>,
    running_queue: bool,
}

struct Task {
    spec_ids: (String, String, String),
    exit_code: i32,
    pid: u32,
    ended: Option<Exit>,
    waiting: Vec<oneshot::Sender<Exit>>,
}

/// How long a mock task runs and how it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Script {
    /// `None` runs until it is killed.
    pub run: Option<Duration>,
    /// Its exit code.
    pub exit: i32,
}

impl Default for MockContainerizer {
    fn default() -> Self {
        MockContainerizer::new()
    }
}

impl MockContainerizer {
    /// A host without containers.
    pub fn new() -> MockContainerizer {
        MockContainerizer { shared: Arc::default() }
    }

    /// The same containers seen by another instance, as an agent does that comes back.
    pub fn restarted(&self) -> MockContainerizer {
        MockContainerizer { shared: self.shared.clone() }
    }

    /// How many containers there are, ended ones included.
    pub fn len(&self) -> usize {
        self.shared.lock().containers.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Tasks> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends tasks as their time comes; stops when no task is left to end.
    async fn run_queue(self: Arc<Shared>) {
        loop {
            let next = {
                let mut tasks = self.lock();
                tasks.end_due(Instant::now());
                match tasks.ends.peek() {
                    Some(Reverse((at, _))) => *at,
                    None => {
                        tasks.running_queue = false;
                        return;
                    }
                }
            };
            tokio::select! {
                () = sleep_until(next) => {}
                () = self.changed.notified() => {}
            }
        }
    }
}

impl Tasks {
    fn end_due(&mut self, now: Instant) {
        while let Some(Reverse((at, _))) = self.ends.peek() {
            if *at > now {
                return;
            }
            let Some(Reverse((_, id))) = self.ends.pop() else {
                return;
            };
            if let Some(task) = self.containers.get_mut(&id) {
                let code = Some(task.exit_code);
                task.end(Exit { code, ..Exit::default() });
            }
        }
    }
}

impl Task {
    fn end(&mut self, exit: Exit) {
        if self.ended.is_none() {
            for waiting in self.waiting.drain(..) {
                let _ = waiting.send(exit.clone());
            }
            self.ended = Some(exit);
        }
    }

    fn running(&self) -> Running {
        Running { pid: Some(self.pid), ..Running::default() }
    }
}

impl Script {
    /// Reads a command.
    pub fn of(command: &Command) -> Result<Script, ContainerError> {
        let text = command.value.as_deref().unwrap_or_default();
        let text = if command.shell || command.arguments.len() < 2 {
            text.to_string()
        } else {
            command.arguments[..].join(" ")
        };
        match text.trim().strip_prefix("mock:") {
            Some(settings) => Script::parse_settings(settings),
            None => Ok(Script::parse_statements(&text)),
        }
    }

    fn parse_settings(text: &str) -> Result<Script, ContainerError> {
        let wrong = || ContainerError::Invalid(format!("mock:{text}: expected run=<duration>,exit=<code>"));
        let mut script = Script { run: Some(Duration::ZERO), exit: 0 };
        for setting in text.split(',').map(str::trim).filter(|setting| !setting.is_empty()) {
            match setting.split_once('=') {
                Some(("run", "forever")) => script.run = None,
                Some(("run", value)) => script.run = Some(duration(value).ok_or_else(wrong)?),
                Some(("exit", value)) => script.exit = value.parse().map_err(|_| wrong())?,
                _ => return Err(wrong()),
            }
        }
        Ok(script)
    }

    fn parse_statements(text: &str) -> Script {
        let mut script = Script { run: Some(Duration::ZERO), exit: 0 };
        for statement in text.replace("&&", ";").split([';', '\n']) {
            let mut words = statement.split_whitespace();
            match (words.next().map(|word| word.rsplit('/').next().unwrap_or(word)), words.next()) {
                (Some("sleep"), Some("infinity")) => {
                    return Script { run: None, ..script };
                }
                (Some("sleep"), Some(value)) => {
                    let more = duration(value).unwrap_or_default();
                    script.run = script.run.map(|run| run.saturating_add(more));
                    script.exit = 0;
                }
                (Some("exit"), code) => {
                    return Script { exit: code.and_then(|code| code.parse().ok()).unwrap_or(script.exit), ..script };
                }
                (Some("false"), _) => script.exit = 1,
                (Some(_), _) => script.exit = 0,
                (None, _) => {}
            }
        }
        script
    }
}

/// `0.05`, `50ms`, `2s`, `1m`.
fn duration(text: &str) -> Option<Duration> {
    let unit_at = text.find(|char: char| char.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * factor).ok()
}

#[async_trait]
impl Containerizer for MockContainerizer {
    fn name(&self) -> &'static str {
        "mock"
    }

    async fn launch(&self, spec: ContainerSpec) -> Result<Running, ContainerError> {
        let script = Script::of(&spec.command)?;
        let mut tasks = self.shared.lock();
        if let Some(task) = tasks.containers.get(&spec.container_id) {
            return Ok(task.running());
        }
        // Numbers that no process has: Linux goes up to 2^22.
        let pid = (1 << 22) + 1 + tasks.containers.len() as u32;
        let id = spec.container_id;
        let task = Task {
            spec_ids: (spec.agent_id, spec.framework_id, spec.task_id),
            exit_code: script.exit,
            pid,
            ended: None,
            waiting: Vec::new(),
        };
        let running = task.running();
        tasks.containers.insert(id.clone(), task);
        if let Some(at) = script.run.and_then(|run| Instant::now().checked_add(run)) {
            let first = tasks.ends.peek().is_none_or(|Reverse((next, _))| at < *next);
            tasks.ends.push(Reverse((at, id)));
            if !tasks.running_queue {
                tasks.running_queue = true;
                tokio::spawn(self.shared.clone().run_queue());
            } else if first {
                self.shared.changed.notify_one();
            }
        }
        Ok(running)
    }

    async fn wait(&self, container_id: &str) -> Result<Exit, ContainerError> {
        let unknown = || ContainerError::Unknown(container_id.to_string());
        let told = {
            let mut tasks = self.shared.lock();
            let task = tasks.containers.get_mut(container_id).ok_or_else(unknown)?;
            if let Some(exit) = &task.ended {
                return Ok(exit.clone());
            }
            let (tell, told) = oneshot::channel();
            task.waiting.push(tell);
            told
        };
        told.await.map_err(|_| unknown())
    }

    async fn kill(&self, container_id: &str, _grace: Duration) -> Result<(), ContainerError> {
        let mut tasks = self.shared.lock();
        let task = tasks.containers.get_mut(container_id);
        let task = task.ok_or_else(|| ContainerError::Unknown(container_id.to_string()))?;
        task.end(Exit { signal: Some(SIGTERM), ..Exit::default() });
        Ok(())
    }

    async fn update(&self, container_id: &str, _limits: Limits) -> Result<(), ContainerError> {
        let known = self.shared.lock().containers.contains_key(container_id);
        known.then_some(()).ok_or_else(|| ContainerError::Unknown(container_id.to_string()))
    }

    async fn exec(&self, container_id: &str, command: Command, limit: Duration) -> Result<i32, ContainerError> {
        self.update(container_id, Limits::default()).await?;
        let script = Script::of(&command)?;
        match script.run {
            Some(run) if run <= limit => {
                tokio::time::sleep(run).await;
                Ok(script.exit)
            }
            _ => {
                tokio::time::sleep(limit).await;
                Err(ContainerError::Launch(format!("the command timed out after {limit:?}")))
            }
        }
    }

    async fn recover(&self, agent_id: &str) -> Result<Vec<Recovered>, ContainerError> {
        let tasks = self.shared.lock();
        let own = tasks.containers.iter().filter(|(_, task)| task.spec_ids.0 == agent_id);
        let found = own.map(|(id, task)| Recovered {
            container_id: id.clone(),
            task_id: task.spec_ids.2.clone(),
            framework_id: task.spec_ids.1.clone(),
            running: task.ended.is_none().then(|| task.running()),
        });
        Ok(found.collect())
    }

    async fn destroy(&self, container_id: &str) -> Result<(), ContainerError> {
        let removed = self.shared.lock().containers.remove(container_id);
        if let Some(mut task) = removed {
            task.end(Exit { signal: Some(9), ..Exit::default() });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script(value: &str) -> Script {
        Script::of(&Command { value: Some(value.into()), shell: true, ..Command::default() }).expect("understood")
    }

    #[test]
    fn scripts_say_how_long_and_how_it_ends() {
        let ms = |ms| Some(Duration::from_millis(ms));
        assert_eq!(script("sleep 0.05"), Script { run: ms(50), exit: 0 });
        assert_eq!(script("sleep 1; sleep 2 && exit 3; sleep 9"), Script { run: ms(3000), exit: 3 });
        assert_eq!(script("/bin/false"), Script { run: ms(0), exit: 1 });
        assert_eq!(script("echo Hello Mesos!"), Script { run: ms(0), exit: 0 });
        assert_eq!(script("mock:run=50ms,exit=3"), Script { run: ms(50), exit: 3 });
        assert_eq!(script("mock:run=forever"), Script { run: None, exit: 0 });
    }

    #[test]
    fn a_wrong_setting_is_refused() {
        let command = Command { value: Some("mock:run=soon".into()), ..Command::default() };
        assert!(matches!(Script::of(&command), Err(ContainerError::Invalid(_))));
    }

    #[tokio::test]
    async fn ten_thousand_tasks_end_in_order_through_one_queue() {
        let mock = MockContainerizer::new();
        for number in 0..10_000u32 {
            let value = Some(format!("mock:run={}ms,exit={}", 1000 - number / 10, number % 7));
            let command = Command { value, shell: true, ..Command::default() };
            let spec = ContainerSpec { container_id: number.to_string(), command, ..ContainerSpec::default() };
            mock.launch(spec).await.expect("starts");
        }
        assert_eq!(mock.wait("9999").await.expect("ends").code, Some(9999 % 7));
        let still = mock.recover("").await.expect("looks").iter().filter(|found| found.running.is_some()).count();
        assert!(still > 100, "the others have their time, but only {still} run");
        assert_eq!(mock.wait("0").await.expect("ends").code, Some(0));
        assert!(
            mock.recover("")
                .await
                .expect("looks")
                .iter()
                .all(|found| found.running.is_none() || found.container_id.len() == 1)
        );
    }
}
