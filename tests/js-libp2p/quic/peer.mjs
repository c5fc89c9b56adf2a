// The newest js-libp2p that has QUIC: its streams are a source and a sink.

import { relayTransport, run } from '../program.mjs'
import { noise } from '@chainsafe/libp2p-noise'
import { quic } from '@chainsafe/libp2p-quic'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'

await run({
  createLibp2p,
  multiaddr,
  streams: {
    handler: ({ stream }) => stream.sink(stream.source),
    async exchange (stream, bytes) {
      const sending = stream.sink([bytes])
      const chunks = []
      for await (const chunk of stream.source) chunks.push(chunk.subarray())
      await sending
      return chunks
    }
  },
  options: ({ security, relay }) => ({
    transports: [tcp(), quic(), circuitRelayTransport(relayTransport)],
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
