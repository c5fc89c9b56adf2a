// Programs as the documentation of the original package shows them, compiled only. Not here: running them.

import dig, {
  AnnouncePriority,
  GunDiscovery,
  NODE_TYPE,
  NetworkManager,
  PeerDiscoveryManager,
  announceFile,
  createDHTClient,
  createFileClient,
  createFileHost,
  createGunDiscovery,
  createHost,
  createPEXManager,
  findPeers,
  createNetworkManager,
  downloadFile,
} from '@dignetwork/dig-nat-tools';

async function fileHosting() {
  const host = createFileHost({ port: 8080, directory: './shared-files', dhtEnabled: true });
  await host.start();
}

async function fileClient() {
  const client = createFileClient();
  await client.start();
  const peers = await client.findPeers('file-hash');
  console.log(peers.map((peer) => `${peer.address}:${peer.port}`));
  await client.downloadFile('file-hash', './downloads/my-file.mp4', {
    progressCallback: (progress) => {
      console.log(`Download progress: ${Math.round(progress * 100)}%`);
    },
  });
  client.disconnect();
}

async function networkManagerMessages() {
  const networkManager = createNetworkManager({ port: 8080, dhtEnabled: true, pexEnabled: true, gunEnabled: true });
  await networkManager.start();
  const connection = await networkManager.connect({ host: '192.168.1.100', port: 8080 });
  connection.send('Hello, peer!');
  connection.close();
}

async function setupHost() {
  const host = await createFileHost({
    directory: './shared-files',
    port: 0,
    options: { enableUPnP: true, enableNatPmp: true, enableIPv6: true, enableWatcher: true },
  });
  console.log(`Host started on port ${host.port}`);
  await host.stop();
}
setupHost().catch(console.error);

async function downloadExample() {
  try {
    const result = await downloadFile({
      fileHash: 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
      outputDir: './downloads',
      options: {
        enableNatTraversal: true,
        enableIPv6: true,
        maxPeers: 5,
        onProgress: (progress) => {
          console.log(`Download progress: ${Math.round(progress * 100)}%`);
        },
      },
    });
    console.log(`File downloaded successfully to: ${result.filePath}`);
  } catch (error) {
    console.error('Download failed:', error);
  }
}

async function advancedDownload() {
  const networkManager = new NetworkManager({
    chunkSize: 64 * 1024,
    concurrency: 5,
    stunServers: ['stun:stun.l.google.com:19302'],
    localId: 'my-client-id',
    turnServer: 'turn:your-turn-server.com',
    turnUsername: 'username',
    turnPassword: 'password',
  });
  const result = await networkManager.downloadFile(['peer1', 'peer2', 'peer3'], 'file-sha256-hash', {
    savePath: './downloaded-file.dat',
    onProgress: (receivedBytes, totalBytes) => {
      console.log(`Downloaded ${receivedBytes}/${totalBytes} bytes`);
    },
    onPeerStatus: (peerId, status, bytesFromPeer) => {
      console.log(`Peer ${peerId}: ${status} (${bytesFromPeer} bytes)`);
    },
  });
  console.log(`Download completed: ${result.path}`);
  console.log(`Average speed: ${(result.averageSpeed / (1024 * 1024)).toFixed(2)} MB/s`);
}

async function readableIds(gun: unknown) {
  const network = new NetworkManager({ gunOptions: { gun } });
  await network.start();
  await network.addContentMapping(
    'my-awesome-video',
    'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855',
  );
  const peers = await network.findPeers('my-awesome-video');
  console.log(peers.length);
}

function nodeTypes() {
  const lightHost = createHost({ nodeType: NODE_TYPE.LIGHT });
  const standardHost = createHost({ nodeType: NODE_TYPE.STANDARD });
  const superHost = createHost({ nodeType: NODE_TYPE.SUPER });
  const shardedHost = createHost({
    nodeType: NODE_TYPE.STANDARD,
    dhtOptions: { shardPrefixes: ['00', '01', '02'] },
  });
  return [lightHost, standardHost, superHost, shardedHost, dig.createHost()];
}

function continuousDiscovery() {
  const networkManager = new NetworkManager({ enableContinuousDiscovery: true, maxPeers: 15 });
  networkManager.setEnableContinuousDiscovery(false);
  networkManager.setEnableContinuousDiscovery(true);
}

async function gunDiscovery(gun: unknown) {
  const discovery = createGunDiscovery({ gun, nodeId: 'my-node', persistenceEnabled: true });
  await discovery.start();
  discovery.announce('file-hash', { port: 8080, contentId: 'my-content' });
  const peers = await discovery.findPeers('file-hash', { maxPeers: 10, timeout: 5000 });
  discovery.mapContentIdToHash('my-content', 'file-hash');
  const hash: string | undefined = await discovery.findHashByContentId('my-content');
  const other = new GunDiscovery({ gun, nodeId: 'other', announceInterval: 60000, peerTTL: 3600000 });
  other.on('peer:discovered', (peer) => console.log(peer.id, peer.address, peer.port, peer.infoHashes));
  other.addInfoHash('file-hash', true);
  other.addContentMapping('my-content', 'file-hash');
  return [peers.length, hash];
}

async function discoveryManager() {
  const announced = await announceFile('file-hash', 8080, {
    nodeType: NODE_TYPE.SUPER,
    priority: AnnouncePriority.HIGH,
    enablePersistence: true,
  });
  const named = await announceFile('my-content', 'file-hash', 8080);
  const manager = new PeerDiscoveryManager({ enableIPv6: true, enableDHT: true, dhtOptions: { udpPort: 6881 } });
  await manager.start();
  await manager.addInfoHash('file-hash', AnnouncePriority.MEDIUM);
  manager.on('peer:discovered', (peer, infoHash) => console.log(peer.source, infoHash));
  const peers = await manager.findPeers('file-hash', 50, 5000);
  for (const discovery of [announced, named, manager]) discovery.stop();
  return [...peers, ...(await findPeers('my-content', 0, { enableIPv6: true }))];
}

async function singleWays() {
  const dht = createDHTClient({ nodeId: 'me', bootstrapNodes: ['router:6881', { address: '10.0.0.1', port: 6881 }] });
  const pex = createPEXManager();
  await dht.start();
  await dht.announce('file-hash', 8080);
  pex.addPeer('10.0.0.1:8080', 'file-hash');
  const discovery = createFileClient().getDiscoveryManager();
  const parts = [discovery.getDHTClient(), discovery.getPEXManager(), discovery.getGunDiscovery()];
  console.log(createHost({ isShardHost: true }).getShardPrefixes(), parts.length);
  return dht.findPeers('file-hash', 100);
}

export {
  advancedDownload,
  continuousDiscovery,
  discoveryManager,
  downloadExample,
  fileClient,
  fileHosting,
  gunDiscovery,
  networkManagerMessages,
  nodeTypes,
  readableIds,
  singleWays,
};
