//! Counting tasks that are still running, on one thread.

use std::rc::Rc;
use tokio::sync::Notify;

#[derive(Default)]
pub(super) struct TaskCount {
    ended: Rc<Notify>,
    tasks: Rc<()>,
}

pub(super) struct Task {
    ended: Rc<Notify>,
    task: Option<Rc<()>>,
}

impl TaskCount {
    pub(super) fn enter(&self) -> Task {
        Task { ended: self.ended.clone(), task: Some(self.tasks.clone()) }
    }

    pub(super) fn count(&self) -> usize {
        Rc::strong_count(&self.tasks) - 1
    }

    pub(super) async fn done(self) {
        while Rc::strong_count(&self.tasks) > 1 {
            self.ended.notified().await;
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.task = None;
        self.ended.notify_one();
    }
}
