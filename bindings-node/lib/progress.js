'use strict';
// What a download tells its caller: the original's three shapes of progress, and the state of each peer.
// The last call always says that everything is there, for empty files too.

/** Shapes of progress: which one applies is decided by the form of the call. */
const SHAPE = Object.freeze({
  /** `(fraction)` from 0 to 1. */
  FRACTION: 'fraction',
  /** `(receivedBytes, totalBytes)`, from the moment the size is known. */
  BYTES: 'bytes',
  /** As `BYTES` for a function that declares two parameters, else one object `{percent, received, total}`. */
  BY_ARITY: 'by-arity',
});

class Reporter {
  /** `callbacks` is a list of `{shape, callback}`. */
  constructor(callbacks, onPeerStatus) {
    this.sinks = callbacks.map(({ shape, callback }) => sink(shape, callback));
    this.onPeerStatus = onPeerStatus;
    this.peers = new Map();
    this.last = undefined;
    this.closed = false;
  }

  get wanted() {
    return this.sinks.length > 0 || this.onPeerStatus !== undefined;
  }

  /** Takes a progress record of the engine. */
  report(progress) {
    if (this.closed) return;
    this.tellBytes(progress.bytes, progress.total, progress.fraction);
    for (const peer of progress.peers) {
      this.tellPeer(peer.peer, peer.status, peer.bytes);
    }
  }

  /** Makes up whatever the queue between the threads did not deliver before the result. */
  finish(result) {
    this.tellBytes(result.size, result.size, 1);
    for (const [peer, stats] of Object.entries(result.peers)) {
      const known = this.peers.get(peer);
      this.tellPeer(peer, known ? known.status : 'active', stats.bytes);
    }
  }

  /** Nothing is reported after this. */
  close() {
    this.closed = true;
  }

  tellBytes(bytes, total, fraction) {
    const state = `${bytes}/${total}/${fraction}`;
    if (state === this.last) return;
    this.last = state;
    for (const tell of this.sinks) {
      tell(bytes, total, fraction);
    }
  }

  tellPeer(peer, status, bytes) {
    if (!this.onPeerStatus) return;
    const known = this.peers.get(peer);
    if (known && known.status === status && known.bytes === bytes) return;
    this.peers.set(peer, { status, bytes });
    this.onPeerStatus(peer, status, bytes);
  }
}

function sink(shape, callback) {
  if (shape === SHAPE.FRACTION) {
    return (bytes, total, fraction) => callback(fraction);
  }
  // While the size is unknown there is nothing a caller could divide by.
  const isKnown = (total, fraction) => total > 0 || fraction === 1;
  if (shape === SHAPE.BY_ARITY && callback.length < 2) {
    return (bytes, total, fraction) => {
      if (isKnown(total, fraction)) callback({ percent: fraction * 100, received: bytes, total });
    };
  }
  return (bytes, total, fraction) => {
    if (isKnown(total, fraction)) callback(bytes, total);
  };
}

module.exports = { Reporter, SHAPE };
