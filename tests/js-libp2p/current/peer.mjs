// The current js-libp2p, without QUIC: its streams are sent to and iterated over.

import { relayTransport, run } from '../program.mjs'
import { noise } from '@chainsafe/libp2p-noise'
import { yamux } from '@chainsafe/libp2p-yamux'
import { circuitRelayServer, circuitRelayTransport } from '@libp2p/circuit-relay-v2'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { dcutr } from '@libp2p/dcutr'
import { identify } from '@libp2p/identify'
import { kadDHT, passthroughMapper } from '@libp2p/kad-dht'
import { ping } from '@libp2p/ping'
import { tcp } from '@libp2p/tcp'
import { tls } from '@libp2p/tls'
import { multiaddr } from '@multiformats/multiaddr'
import { createLibp2p } from 'libp2p'
import { CID } from 'multiformats/cid'
import { decode } from 'multiformats/hashes/digest'

/** Sends bytes, waiting whenever the stream asks to. */
async function send (stream, bytes) {
  if (!stream.send(bytes)) await stream.onDrain()
}

/** The code of raw bytes in content ids. */
const RAW = 0x55
const cid = multihash => CID.createV1(RAW, decode(multihash))

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
  content: {
    /** To how many peers the record was sent. */
    async provide (node, multihash) {
      let sent = 0
      for await (const event of node.services.dht.provide(cid(multihash))) sent += event.name === 'PEER_RESPONSE' ? 1 : 0
      return sent
    },
    async find (node, multihash) {
      const found = []
      for await (const event of node.services.dht.findProviders(cid(multihash))) {
        for (const { id, multiaddrs } of event.name === 'PROVIDER' ? event.providers : []) {
          found.push({ peer: `${id}`, addresses: multiaddrs.map(address => address.toString()) })
        }
      }
      return found
    }
  },
  options: async ({ security, relay, dht, identity }) => ({
    ...(identity ? { privateKey: await generateKeyPair(identity) } : {}),
    transports: [tcp(), circuitRelayTransport(relayTransport)],
    connectionEncrypters: { tls: [tls()], noise: [noise()], both: [tls(), noise()] }[security],
    streamMuxers: [yamux()],
    services: {
      identify: identify(),
      ping: ping(),
      dcutr: dcutr(),
      ...(relay ? { relay: circuitRelayServer() } : {}),
      // Loopback addresses are those of this test.
      ...(dht ? { dht: kadDHT({ protocol: dht, clientMode: false, peerInfoMapper: passthroughMapper }) } : {})
    }
  })
})
