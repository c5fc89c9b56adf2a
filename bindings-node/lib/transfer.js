'use strict';
// Runs one cancellable operation of the engine: progress, AbortSignal, errors, the shape of the result.
// Not here: call forms.

const fs = require('fs');
const path = require('path');

const { DigNatError, call, cancelled, invalid, sync } = require('./errors');
const { isObject, optionalFunction, toPath } = require('./options');
const { Reporter } = require('./progress');

/** A finished download. As text it is its path, which is what the original's documentation prints. */
class DownloadResult {
  constructor(record) {
    this.path = record.path;
    this.filePath = record.path;
    this.hash = record.hash;
    this.size = record.size;
    this.resumedBytes = record.resumedBytes;
    this.averageSpeed = record.averageSpeed;
    this.totalTime = record.totalTimeMs;
    this.peerStats = {};
    this.connectionTypes = {};
    for (const [peer, stats] of Object.entries(record.peers)) {
      this.peerStats[peer] = {
        bytesDownloaded: stats.bytes,
        downloadSpeed: stats.rate,
        connectionType: stats.connectionType,
        active: stats.active,
      };
      this.connectionTypes[peer] = stats.connectionType;
    }
  }

  toString() {
    return this.path;
  }
}

/** Awaits a task of the engine; `signal` cancels it. `begin` starts it, synchronously; `read` takes its result. */
async function runTask(begin, signal, what, read = JSON.parse) {
  checkSignal(signal);
  if (signal && signal.aborted) {
    throw cancelled(`${what} was aborted before it began`, signal.reason);
  }
  const task = sync(begin);
  const abort = () => task.cancel();
  if (signal) signal.addEventListener('abort', abort, { once: true });
  try {
    return read(await call(() => task.wait()));
  } catch (error) {
    if (signal && signal.aborted && error.code === 'ERR_CANCELLED') {
      throw cancelled(`${what} was aborted`, signal.reason);
    }
    throw error;
  } finally {
    if (signal) signal.removeEventListener('abort', abort);
  }
}

/**
 * Runs a download.
 * `begin(onProgress)` starts the engine's task; `shape(name)` says what the callback of that name is given;
 * `bags` are the option objects that may carry callbacks and a signal, the first one found counts.
 */
async function runDownload(begin, shape, bags, register) {
  const pick = (...names) => {
    for (const bag of bags.filter(isObject)) {
      const name = names.find((candidate) => bag[candidate] !== undefined && bag[candidate] !== null);
      if (name) return bag[name];
    }
    return undefined;
  };
  const callbacks = ['onProgress', 'progressCallback']
    .map((name) => ({ shape: shape(name), callback: optionalFunction(name, pick(name)) }))
    .filter(({ callback }) => callback);
  const onPeerStatus = optionalFunction('onPeerStatus', pick('onPeerStatus', 'peerStatusCallback'));
  const onError = optionalFunction('onError', pick('onError', 'errorCallback'));
  const reporter = new Reporter(callbacks, onPeerStatus);

  let task;
  let thrown;
  const guarded = (report) => {
    if (thrown) return;
    try {
      report();
    } catch (error) {
      // A callback that throws ends the download, and the caller gets what it threw.
      thrown = { error };
      task.cancel();
    }
  };
  const onProgress = reporter.wanted
    ? (text) => guarded(() => reporter.report(JSON.parse(text)))
    : undefined;
  try {
    const record = await runTask(
      () => {
        task = begin(onProgress);
        if (register) register(task);
        return task;
      },
      pick('signal'),
      'the download',
    );
    guarded(() => reporter.finish(record));
    if (thrown) throw thrown.error;
    return new DownloadResult(record);
  } catch (error) {
    const reason = thrown ? thrown.error : error;
    if (onError) onError(reason);
    throw reason;
  } finally {
    reporter.close();
  }
}

/** Creates the directory that a download goes to, as the original does. */
function prepareTarget({ savePath, outputDir }) {
  const directory = savePath ? path.dirname(toPath('savePath', savePath)) : outputDir && toPath('outputDir', outputDir);
  if (!directory) return;
  try {
    fs.mkdirSync(directory, { recursive: true });
  } catch (cause) {
    const code = ['EACCES', 'EPERM', 'EROFS'].includes(cause.code) ? 'ERR_PERMISSION_DENIED' : 'ERR_IO';
    throw new DigNatError(code, `cannot create the directory ${directory}: ${cause.message}`, cause);
  }
}

function checkSignal(signal) {
  if (signal !== undefined && typeof (signal && signal.addEventListener) !== 'function') {
    throw invalid('signal', 'expected an AbortSignal');
  }
}

module.exports = { prepareTarget, runDownload, runTask };
