// The current js-libp2p, without QUIC: its streams are sent to and iterated over.

import { relayTransport, run } from '../program.mjs'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

/** Sends bytes, waiting whenever the stream asks to. */
async function send (stream, bytes) {
  if (!stream.send(bytes)) await stream.onDrain()
}

await run({
  createLibp2p,
  multiaddr,
  streams: {
    async handler (stream) {
      for await (const chunk of stream) await send(stream, chunk)
      await stream.close()
    },
    async exchange (stream, bytes) {
      const sending = send(stream, bytes).then(() => stream.close())
      const chunks = []
      for await (const chunk of stream) chunks.push(chunk.subarray())
      await sending
      return chunks
    }
  },
  options: ({ security, relay }) => ({
    transports: [tcp(), circuitRelayTransport(relayTransport)],
    connectionEncrypters: [security === 'noise' ? noise() : tls()],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      ping: ping(),
      dcutr: dcutr(),
      ...(relay ? { relay: circuitRelayServer() } : {})
    }
  })
})
