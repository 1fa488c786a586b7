//! Which policy is in force: the options' one, or what an operator has chosen since.

use std::sync::Arc;

use bytes::Bytes;
use mesos_engine::{Policy, policy::Scorer};

use super::{Allocator, Output};
use crate::{
    machine::Effects,
    message::{PolicyName, PolicyView},
    row::{ModuleRow, PolicyRow, Row},
};

/// Modules that are kept.
const MODULES_MAX: usize = 16;
/// The longest name of a module.
const NAME_MAX: usize = 64;

impl Allocator {
    /// The policy that an operator has chosen, or that of the options.
    fn chosen_policy(&self) -> PolicyName {
        self.policy.as_ref().map_or(&self.options.policy, |row| &row.policy).clone()
    }

    /// Puts the chosen policy into force; one that cannot be is reported, and the present one goes on.
    pub(super) fn apply_policy(&mut self, fx: &mut Effects<Output>) {
        let chosen = self.chosen_policy();
        match self.policy_of(&chosen) {
            Ok(policy) => self.engine.set_policy(policy),
            Err(error) => self.report_trouble(error, fx),
        }
    }

    fn policy_of(&mut self, name: &PolicyName) -> Result<Policy, String> {
        Ok(match name {
            PolicyName::Drf => Policy::Drf,
            PolicyName::Fifo => Policy::Fifo,
            PolicyName::Drc => Policy::Drc,
            PolicyName::Random => Policy::Random,
            PolicyName::Module(name) => Policy::Module(name.clone(), self.scorer(name)?),
        })
    }

    fn scorer(&self, name: &str) -> Result<Arc<dyn Scorer>, String> {
        let row = self.modules.get(name).ok_or_else(|| {
            format!("there is no policy '{name}'; there are drf, fifo, drc, random, and modules that were loaded")
        })?;
        self.options.loader.0.load(name, &row.module)
    }

    fn report_trouble(&mut self, trouble: String, fx: &mut Effects<Output>) {
        self.metrics.policy_failures += 1;
        fx.emit(Output::Trouble(trouble.clone()));
        self.trouble = Some(trouble);
    }

    /// A module that trapped or used up its budget is not asked again: the policy before it goes on.
    pub(super) fn leave_a_failed_policy(&mut self, fx: &mut Effects<Output>) {
        let Some(error) = self.engine.trouble() else { return };
        let failed = self.engine.policy();
        let trouble = format!("policy '{failed}' failed ({error}); '{}' is in force again", self.policy_before);
        let before = self.policy_before.clone();
        match self.policy_of(&before) {
            Ok(policy) => self.engine.set_policy(policy),
            Err(_) => self.engine.set_policy(Policy::Drf),
        }
        self.write_policy(PolicyRow { policy: self.engine.policy() }, fx);
        self.report_trouble(trouble, fx);
    }

    fn write_policy(&mut self, row: PolicyRow, fx: &mut Effects<Output>) {
        fx.put(Row::Policy(row.clone()));
        self.policy = Some(row);
    }

    /// An operator chooses a policy; a module may come along.
    ///
    /// # Errors
    /// Says what is wrong with it; then nothing has changed.
    pub(super) fn set_policy(
        &mut self,
        name: PolicyName,
        module: Option<Bytes>,
        fx: &mut Effects<Output>,
    ) -> Result<(), String> {
        let policy = match (&name, module) {
            (PolicyName::Module(text), Some(module)) => {
                let scorer = self.load_module(text, module, fx)?;
                Policy::Module(text.clone(), scorer)
            }
            (_, Some(_)) => return Err(format!("'{name}' is built in; give the module another name")),
            (_, None) => self.policy_of(&name)?,
        };
        let before = self.engine.policy();
        if !matches!(before, PolicyName::Module(_)) {
            self.policy_before = before;
        }
        self.engine.set_policy(policy);
        self.trouble = None;
        self.write_policy(PolicyRow { policy: name }, fx);
        Ok(())
    }

    /// An operator uploads a module, to be chosen later.
    ///
    /// # Errors
    /// Says what is wrong with it; then nothing has changed.
    pub(super) fn load_module(
        &mut self,
        name: &str,
        module: Bytes,
        fx: &mut Effects<Output>,
    ) -> Result<Arc<dyn Scorer>, String> {
        let proper = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || c == '.';
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(proper) {
            return Err(format!("a policy's name has 1 to {NAME_MAX} letters, digits, '-', '_' and '.'"));
        }
        if !matches!(PolicyName::from(name), PolicyName::Module(_)) {
            return Err(format!("'{name}' is built in; give the module another name"));
        }
        if !self.modules.contains_key(name) && self.modules.len() >= MODULES_MAX {
            return Err(format!("there are {MODULES_MAX} modules already; load it under the name of an old one"));
        }
        let scorer = self.options.loader.0.load(name, &module)?;
        let row = ModuleRow { name: name.to_owned(), module };
        fx.put(Row::Module(row.clone()));
        self.modules.insert(row.name.clone(), row);
        if self.engine.policy() == PolicyName::Module(name.to_owned()) {
            self.engine.set_policy(Policy::Module(name.to_owned(), scorer.clone()));
        }
        Ok(scorer)
    }

    pub(super) fn policy_view(&self) -> PolicyView {
        PolicyView {
            policy: self.engine.policy(),
            modules: self.modules.keys().cloned().collect(),
            trouble: self.trouble.clone(),
        }
    }
}
