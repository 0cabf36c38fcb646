//! Commands on their way to a server, and their replies.

use redis::{Cmd, Pipeline, RedisError as CallError, Value};

use super::{
    connections::{Connections, OwnedConnection},
    error_meaning::{Meaning, Redirect, is_no_script},
    scripts::RedisScript,
};
use crate::StoreError;

/// The commands of a pipeline, each with its reply once it has run.
pub(super) struct Commands {
    commands: Vec<Cmd>,
    replies: Vec<Option<Value>>,
    /// Why the first command that has not run was redirected.
    redirect: Option<Redirect>,
}

impl Commands {
    pub(super) fn of(pipeline: &Pipeline) -> Self {
        let commands: Vec<Cmd> = pipeline.cmd_iter().cloned().collect();
        let replies = commands.iter().map(|_| None).collect();
        Self { commands, replies, redirect: None }
    }

    /// Returns where the first command that has not run was redirected to.
    pub(super) fn redirected(&self) -> Option<Redirect> {
        self.redirect.clone()
    }

    /// Returns the replies, once all commands have run.
    pub(super) fn into_replies(self) -> Result<Vec<Value>, StoreError> {
        let replies: Option<Vec<Value>> = self.replies.into_iter().collect();
        replies.ok_or_else(|| StoreError::unreadable("a command has no reply"))
    }

    /// Sends the commands that have not run to a server.
    ///
    /// # Errors
    /// The first error that is no redirection.
    pub(super) async fn exchange(
        &mut self,
        connections: &Connections,
        script: Option<&RedisScript>,
    ) -> Result<(), StoreError> {
        self.send(connections, script, false).await
    }

    /// Sends the commands that have not run to the server that their slot is being moved to.
    ///
    /// # Errors
    /// The first error that is no redirection.
    pub(super) async fn ask(
        &mut self,
        connections: &Connections,
        script: Option<&RedisScript>,
    ) -> Result<(), StoreError> {
        self.send(connections, script, true).await
    }

    async fn send(
        &mut self,
        connections: &Connections,
        script: Option<&RedisScript>,
        asking: bool,
    ) -> Result<(), StoreError> {
        if self.replies.iter().all(Option::is_some) {
            return Ok(());
        }
        let mut connection = connections.get().await?;
        let mut error = self.write(&mut connection, None, asking).await;
        if let (Err(unknown), Some(script)) = (&error, script)
            && is_no_script(unknown)
        {
            error = self.write(&mut connection, Some(script), asking).await;
        }
        match error {
            Ok(()) => {
                connections.give_back(connection);
                Ok(())
            }
            // What this user may not do, it may not do on another connection either.
            Err(error)
                if Meaning::of(&error) == Meaning::Rejected || error.code() == Some("NOPERM") =>
            {
                connections.give_back(connection);
                Err(connections.error(error))
            }
            Err(error) => Err(connections.close(connection, error)),
        }
    }

    /// Writes what has not run, behind the text of `script`, and reads the replies. Returns the
    /// first error that is no redirection.
    async fn write(
        &mut self,
        connection: &mut OwnedConnection,
        script: Option<&RedisScript>,
        asking: bool,
    ) -> Result<(), CallError> {
        let mut pipeline = Pipeline::with_capacity(self.commands.len() + 1);
        if let Some(script) = script {
            pipeline.add_command(script.load());
        }
        let waiting: Vec<usize> =
            (0..self.commands.len()).filter(|&index| self.replies[index].is_none()).collect();
        for &index in &waiting {
            if asking {
                pipeline.cmd("ASKING");
            }
            pipeline.add_command(self.commands[index].clone());
        }
        let replies = connection.send_packed_commands(&pipeline, 0, pipeline.len()).await?;
        let mut replies = replies.into_iter();
        if script.is_some() {
            // Without the text, the calls below would only say that the script is unknown.
            replies.next().unwrap_or(Value::Nil).extract_error()?;
        }
        self.redirect = None;
        let mut failure = None;
        for index in waiting {
            let reply = replies.nth(usize::from(asking)).unwrap_or(Value::Nil);
            match reply.extract_error() {
                Ok(reply) => self.replies[index] = Some(reply),
                Err(error) => match Redirect::of(&error) {
                    Some(redirect) => self.redirect = self.redirect.take().or(Some(redirect)),
                    None => failure = failure.or(Some(error)),
                },
            }
        }
        failure.map_or(Ok(()), Err)
    }
}
