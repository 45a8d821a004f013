//! A bucket that speaks S3, through object_store.

use std::fs::File;
use std::io::{Read, Write};
use std::path::Path as FilePath;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    Error, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, WriteMultipart,
};

use super::client::Connector;
use super::{DestinationError, PIECE_BYTES, Result, limit};
use crate::backup::config::S3;
use crate::backup::replace_private;

/// How often a request is repeated at once; what still fails then is tried again by whoever asked.
const RETRIES: usize = 1;

/// A bucket, or what lies below a prefix in it.
#[derive(Debug, Clone)]
pub(super) struct Bucket {
    store: Arc<AmazonS3>,
    prefix: Path,
}

impl Bucket {
    /// Makes the client. Without keys in the settings, credentials come from `AWS_ACCESS_KEY_ID` and its kin, or the
    /// machine's own role.
    pub(super) fn open(bucket: &str, prefix: &str, settings: &S3) -> Result<Self> {
        let retry = RetryConfig { max_retries: RETRIES, ..RetryConfig::default() };
        let connector = Connector::new().map_err(|error| DestinationError::failed(bucket, error))?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            .with_retry(retry)
            .with_http_connector(connector);
        if let Some(endpoint) = &settings.endpoint {
            builder = builder.with_endpoint(endpoint).with_allow_http(endpoint.starts_with("http://"));
        }
        if let Some(region) = &settings.region {
            builder = builder.with_region(region);
        }
        if let (Some(name), Some(key)) = (&settings.access_key_id, &settings.secret_access_key) {
            builder = builder.with_access_key_id(name).with_secret_access_key(key.expose());
        }
        let store = builder.build().map_err(|error| DestinationError::failed(bucket, error))?;
        let prefix = Path::parse(prefix).map_err(|error| DestinationError::failed(prefix, error))?;
        Ok(Self { store: Arc::new(store), prefix })
    }

    /// Lists what is there; `within` is for each of the requests that takes.
    pub(super) async fn list(&self, within: Duration) -> Result<Vec<(String, u64)>> {
        let mut listed = self.store.list(Some(&self.prefix)).map(|found| {
            let found = found.map_err(|error| fault("the listing", &error))?;
            let below = found
                .location
                .prefix_match(&self.prefix)
                .map(|parts| parts.map(|part| part.as_ref().to_owned()).collect::<Vec<_>>().join("/"));
            Ok((below.unwrap_or_default(), found.size))
        });
        let mut all = Vec::new();
        while let Some(found) = limit(within, "the listing", listed.try_next()).await? {
            all.push(found);
        }
        Ok(all)
    }

    pub(super) async fn put(&self, name: &str, bytes: Bytes, replace: bool) -> Result<()> {
        let mode = if replace { PutMode::Overwrite } else { PutMode::Create };
        let options = PutOptions { mode, ..PutOptions::default() };
        let stored = self.store.put_opts(&self.path(name)?, PutPayload::from(bytes), options).await;
        stored.map(drop).map_err(|error| fault(name, &error))
    }

    pub(super) async fn upload(
        &self,
        name: &str,
        local: &FilePath,
        within: Duration,
        note: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let local_fault = |error| DestinationError::failed(local.display(), error);
        let mut source = File::open(local).map_err(local_fault)?;
        let size = source.metadata().map_err(local_fault)?.len();
        if size <= PIECE_BYTES as u64 {
            let mut bytes = Vec::new();
            source.read_to_end(&mut bytes).map_err(local_fault)?;
            limit(within, name, self.put(name, bytes.into(), false)).await?;
            note(size);
            return Ok(());
        }
        let path = self.path(name)?;
        let begun = limit(within, name, async {
            self.store.put_multipart(&path).await.map_err(|error| fault(name, &error))
        });
        let mut upload = WriteMultipart::new_with_chunk_size(begun.await?, PIECE_BYTES);
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = read_piece(&mut source, &mut piece).map_err(local_fault)?;
            if read == 0 {
                break;
            }
            upload.write(&piece[..read]);
            // One piece at a time, so that memory stays bounded and each has its deadline.
            let sent = limit(within, name, async {
                upload.wait_for_capacity(1).await.map_err(|error| fault(name, &error))
            });
            if let Err(error) = sent.await {
                let _ = tokio::time::timeout(within, upload.abort()).await;
                return Err(error);
            }
            note(read as u64);
        }
        let finished = limit(within.saturating_mul(2), name, async {
            upload.finish().await.map(drop).map_err(|error| fault(name, &error))
        });
        finished.await
    }

    pub(super) async fn get(&self, name: &str) -> Result<Bytes> {
        let found = self.store.get(&self.path(name)?).await.map_err(|error| fault(name, &error))?;
        found.bytes().await.map_err(|error| fault(name, &error))
    }

    pub(super) async fn download(
        &self,
        name: &str,
        local: &FilePath,
        within: Duration,
        note: &(dyn Fn(u64) + Sync),
    ) -> Result<()> {
        let local_fault = |error| DestinationError::failed(local.display(), error);
        let path = self.path(name)?;
        let found =
            limit(within, name, async { self.store.get(&path).await.map_err(|error| fault(name, &error)) });
        let mut stream = found.await?.into_stream();
        let mut target = replace_private(local).map_err(local_fault)?;
        loop {
            let next =
                limit(within, name, async { stream.try_next().await.map_err(|error| fault(name, &error)) });
            let Some(bytes) = next.await? else { return Ok(()) };
            target.write_all(&bytes).map_err(local_fault)?;
            note(bytes.len() as u64);
        }
    }

    pub(super) async fn remove(&self, name: &str) -> Result<()> {
        match self.store.delete(&self.path(name)?).await {
            Ok(()) | Err(Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(fault(name, &error)),
        }
    }

    fn path(&self, name: &str) -> Result<Path> {
        let text = format!("{}/{name}", self.prefix);
        Path::parse(text.trim_start_matches('/')).map_err(|error| DestinationError::failed(name, error))
    }
}

fn read_piece(source: &mut File, piece: &mut [u8]) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < piece.len() {
        match source.read(&mut piece[filled..])? {
            0 => break,
            read => filled += read,
        }
    }
    Ok(filled)
}

fn fault(name: &str, error: &Error) -> DestinationError {
    match error {
        Error::AlreadyExists { .. } | Error::Precondition { .. } => {
            DestinationError::Exists { name: name.to_owned() }
        }
        Error::NotFound { .. } => DestinationError::Missing { name: name.to_owned() },
        error => DestinationError::failed(name, error),
    }
}
