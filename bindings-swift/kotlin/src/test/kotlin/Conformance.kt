// The scenarios that every binding of a light node passes, in Kotlin.
// Arguments: hash, address, original file, folder to write to. A host of another process shares the file.

import java.io.File
import kotlin.system.exitProcess
import kotlinx.coroutines.CompletableDeferred
import kotlinx.coroutines.cancelAndJoin
import kotlinx.coroutines.delay
import kotlinx.coroutines.launch
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.dignetwork.dignat.*

const val DEADLINE_MS = 240_000L

class Recorder(val first: CompletableDeferred<Unit> = CompletableDeferred()) : ProgressListener {
    val seen = java.util.Collections.synchronizedList(mutableListOf<Progress>())

    override fun onProgress(progress: Progress) {
        seen.add(progress)
        if (progress.bytes > 0uL) first.complete(Unit)
    }
}

class Events : EventListener {
    val seen = java.util.Collections.synchronizedList(mutableListOf<String>())

    override fun onEvent(eventJson: String) {
        seen.add(eventJson)
    }
}

fun check(condition: Boolean, what: () -> String) {
    if (!condition) throw IllegalStateException(what())
}

suspend inline fun <reified E : DigNatException> fails(crossinline call: suspend () -> Unit): E {
    try {
        call()
    } catch (error: DigNatException) {
        check(error is E) { "expected ${E::class.simpleName}, got $error" }
        return error as E
    }
    throw IllegalStateException("expected ${E::class.simpleName}, but it succeeded")
}

class Conformance(val hash: String, val address: String, val original: File, val folder: File) {
    private fun options(name: String, limit: ULong? = null) =
        DownloadOptions(savePath = File(folder, name).path, peers = listOf(address), downloadLimit = limit)

    suspend fun downloadWithProgress(node: LightNode) {
        val recorder = Recorder()
        val result = node.download(hash, options("kotlin.bin"), recorder)
        check(result.hash == hash && result.size == original.length().toULong()) { "$result" }
        check(File(result.path).readBytes().contentEquals(original.readBytes())) { "the content differs" }
        check(result.peers.values.sumOf { it.bytes } >= result.size) { "${result.peers}" }
        val seen = recorder.seen.toList()
        check(seen.isNotEmpty() && seen.last().fraction == 1.0) { "last progress: ${seen.lastOrNull()}" }
        check(seen.zipWithNext().all { (a, b) -> a.bytes <= b.bytes }) { "progress went back" }
        check(calculateSha256File(result.path) == hash) { "the hash of the file differs" }
        check(calculateSha256(original.readBytes()) == hash) { "the hash of the bytes differs" }
    }

    suspend fun fileInfo(node: LightNode) {
        val info = node.fileInfo(hash, options("unused"))
        check(info.size == original.length().toULong() && info.hash == hash) { "$info" }
    }

    suspend fun cancel(node: LightNode) {
        val recorder = Recorder()
        val download = node.startDownload(hash, options("cancelled.bin", 65_536uL), recorder)
        recorder.first.await()
        download.cancel()
        fails<DigNatException.Cancelled> { download.result() }
        check(!File(folder, "cancelled.bin").exists()) { "a cancelled download left its target" }
        // Cancelling the coroutine is the other way; the node must stay usable.
        runBlocking {
            val job = launch { node.download(hash, options("coroutine.bin", 65_536uL), null) }
            delay(300)
            job.cancelAndJoin()
        }
        // What was fetched is not fetched again.
        val result = node.download(hash, options("cancelled.bin"), null)
        check(result.resumedBytes > 0uL) { "nothing was resumed: $result" }
    }

    suspend fun suspendAndResume(node: LightNode) {
        val recorder = Recorder()
        val download = node.startDownload(hash, options("suspended.bin", 1_000_000uL), recorder)
        recorder.first.await()
        node.suspend()
        check(node.isSuspended() && node.port() == 0.toUShort()) { "suspended, but port ${node.port()}" }
        node.suspend()
        node.resume()
        check(!node.isSuspended() && node.port() != 0.toUShort()) { "resumed, but port ${node.port()}" }
        val result = download.result()
        check(File(result.path).readBytes().contentEquals(original.readBytes())) { "the content differs" }
        check(recorder.seen.last().fraction == 1.0) { "last progress: ${recorder.seen.last()}" }
    }

    suspend fun noPeer(node: LightNode) {
        val options = DownloadOptions(savePath = File(folder, "none").path, timeoutMs = 300uL, discover = false)
        val error = fails<DigNatException.NoPeers> { node.download(hash, options, null) }
        check(error.code == "ERR_NO_PEERS" && error.advice.isNotEmpty() && error.reason.isNotEmpty()) { "$error" }
    }

    suspend fun wrongHash(node: LightNode) {
        val options = options("wrong").copy(timeoutMs = 2_000uL)
        try {
            node.download("00".repeat(32), options, null)
            throw IllegalStateException("a hash that nobody has was downloaded")
        } catch (error: DigNatException) {
            check(error is DigNatException.NoPeers || error is DigNatException.ContentNotFound) { "$error" }
        }
    }

    suspend fun badOption(node: LightNode) {
        val error = fails<DigNatException.InvalidArgument> { LightNode(LightNodeOptions(maxConnections = 0u)) }
        check("maxConnections" in error.reason) { "$error" }
        fails<DigNatException.InvalidArgument> { node.download("", DownloadOptions(), null) }
        fails<DigNatException.InvalidArgument> { node.addPeer("") }
    }

    suspend fun findPeers(node: LightNode) {
        node.addPeer(address, hash)
        val peers = node.findPeers(hash, FindOptions(maxPeers = 1u, timeoutMs = 5_000uL))
        check(peers.isNotEmpty()) { "the named peer was not found" }
    }

    /** The host answers STUN on its UDP port. */
    suspend fun nat(node: LightNode) {
        val options = NatOptions(stunServers = listOf(address), timeoutMs = 3_000uL)
        val found = discoverPublicIps(options)
        check(found == PublicIps(ipv4 = "127.0.0.1", ipv6 = null)) { "$found" }
        val profile = detectNatType(options)
        check(profile.translated == false && !profile.symmetric) { "$profile" }
        check(profile.publicV4.orEmpty().startsWith("127.0.0.1:")) { "$profile" }
        fails<DigNatException.InvalidArgument> { detectNatType(options.copy(timeoutMs = 5uL)) }
        fails<DigNatException.InvalidArgument> { createUpnpMapping(MappingOptions(internalPort = 1u, protocol = "SCTP")) }
        fails<DigNatException.InvalidArgument> { deleteUpnpMapping(MappingOptions()) }
        check(node.natProfile() == null) { "this node was told no server" }
    }
}

fun main(arguments: Array<String>): Unit = runBlocking {
    val (hash, address, original, folder) = arguments
    val scenarios = Conformance(hash, address, File(original), File(folder))
    withTimeout(DEADLINE_MS) {
        val events = Events()
        val node = LightNode(LightNodeOptions(downloadDir = folder))
        node.setEventListener(events)
        check(node.port() == 0.toUShort() && node.peerId() == null) { "something is open before the start" }
        node.start()
        node.start()
        val all: List<Pair<String, suspend (LightNode) -> Unit>> = listOf(
            "download with progress" to scenarios::downloadWithProgress,
            "file info" to scenarios::fileInfo,
            "cancel" to scenarios::cancel,
            "suspend and resume" to scenarios::suspendAndResume,
            "no peer" to scenarios::noPeer,
            "wrong hash" to scenarios::wrongHash,
            "bad option" to scenarios::badOption,
            "find peers" to scenarios::findPeers,
            "nat" to scenarios::nat,
        )
        for ((name, scenario) in all) {
            scenario(node)
            println("ok $name")
        }
        node.stop()
        node.stop()
        check(node.port() == 0.toUShort()) { "the port is still open" }
        check(events.seen.any { "\"started\"" in it }) { "events: ${events.seen}" }
        node.close()
        println("passed ${all.size}")
    }
    exitProcess(0)
}
