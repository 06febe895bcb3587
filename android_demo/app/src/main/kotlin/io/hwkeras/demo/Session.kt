package io.hwkeras.demo

import com.google.ai.edge.litert.Environment
import com.google.ai.edge.litert.LiteRtException
import io.hwkeras.demo.core.Answer
import io.hwkeras.demo.core.Catalog
import io.hwkeras.demo.core.Classifier
import io.hwkeras.demo.core.DemoException
import io.hwkeras.demo.core.ModelBundle
import io.hwkeras.demo.core.Picture
import io.hwkeras.demo.core.Preprocess
import io.hwkeras.demo.core.Problem
import io.hwkeras.demo.core.Raster
import io.hwkeras.demo.core.medianMillis
import io.hwkeras.demo.core.topK
import java.io.File
import java.io.IOException
import java.io.InputStream
import java.util.UUID
import java.util.concurrent.Executors
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.asCoroutineDispatcher
import kotlinx.coroutines.cancel
import kotlinx.coroutines.ensureActive
import kotlinx.coroutines.flow.MutableStateFlow
import kotlinx.coroutines.flow.asStateFlow
import kotlinx.coroutines.flow.update
import kotlinx.coroutines.launch

/** Everything on the screen. */
data class Screen(
    val rows: List<Row> = emptyList(),
    val selected: Int = 0,
    val samples: List<SamplePicture> = emptyList(),
    val preview: Raster? = null,
    val notices: List<Notice> = emptyList(),
    val busy: List<Busy> = emptyList(),
)

/** A model in the table. */
data class Row(
    val name: String,
    val sizeBytes: Long,
    val accuracy: Double?,
    val latencyMs: Double? = null,
    val answers: List<Answer> = emptyList(),
    val seen: Raster? = null,
)

class SamplePicture(val label: String, val raster: Raster)

data class Notice(val problem: Problem, val details: List<String> = emptyList())

/** What is being done or waits for its turn. */
enum class Busy { LOADING, CLASSIFYING, MEASURING }

/**
 * The models, the picture and what came of them, for as long as the app is open; it survives the
 * activity that a rotation ends.
 *
 * One thread owns the models and does all work. The calls return at once, and [screen] follows.
 *
 * @param cache where a model's files lie while it is loaded
 * @param asset opens a file of the app's assets
 * @param decode decodes a picture; it may open the stream more than once
 */
class Session(
    private val cache: File,
    private val asset: (path: String) -> InputStream,
    private val decode: (open: () -> InputStream) -> Picture,
) : AutoCloseable {
    private val thread = Executors.newSingleThreadExecutor { Thread(it, "models") }
    private val scope = CoroutineScope(thread.asCoroutineDispatcher())
    private val state = MutableStateFlow(Screen())
    private val classifiers = mutableListOf<Classifier>()
    private var environment: Environment? = null
    private var samples = emptyList<String>()
    private var picture: (() -> InputStream)? = null

    val screen = state.asStateFlow()

    init {
        work(Busy.LOADING) { loadAssets() }
    }

    /** Shows the picture in a stream and asks every model what it is. */
    fun show(open: () -> InputStream) = work(Busy.CLASSIFYING) { classify(open) }

    fun showSample(index: Int) = work(Busy.CLASSIFYING) {
        classify { asset(samples[index]) }
    }

    /** Adds a model to the table: the content of a .tflite and of its JSON, in any order. */
    fun open(files: List<() -> InputStream>) = work(Busy.LOADING) {
        if (files.size != 2) throw DemoException(Problem.NOT_A_PAIR)
        withCopies(CHOSEN, files[0], files[1]) { one, other ->
            if (!ModelBundle.isModel(other)) add(one, other) else add(other, one)
        }
        select(state.value.rows.lastIndex)
        picture?.let(::classify)
    }

    fun select(index: Int) = state.update { it.copy(selected = index) }

    /** Fills the table's latencies. */
    fun measure() = work(Busy.MEASURING) {
        val times = medianMillis(classifiers.map { it::run }, beforeRound = scope::ensureActive)
        state.update {
            it.copy(rows = it.rows.zip(times) { row, ms -> row.copy(latencyMs = ms) })
        }
    }

    fun report(problem: Problem) {
        state.update { it.copy(notices = listOf(Notice(problem))) }
    }

    /** Ends the work and frees the models, on the thread that owns them. */
    override fun close() {
        scope.cancel()
        thread.execute {
            classifiers.forEach(Classifier::close)
            environment?.close()
        }
        thread.shutdown()
    }

    private fun work(busy: Busy, block: () -> Unit) {
        state.update { it.copy(busy = it.busy + busy) }
        scope.launch {
            state.update { it.copy(notices = emptyList()) }
            attempt(block)
            state.update { it.copy(busy = it.busy - busy) } // one of its kind
        }
    }

    /** Runs a piece of work; what it cannot do becomes a sentence on the screen. */
    private fun attempt(block: () -> Unit) = try {
        block()
    } catch (e: DemoException) {
        complain(Notice(e.problem, e.details))
    } catch (e: IOException) {
        complain(Notice(Problem.UNREADABLE_FILE, listOf(e.message.orEmpty())))
    } catch (e: SecurityException) { // the app that offered a file took it back
        complain(Notice(Problem.UNREADABLE_FILE, listOf(e.message.orEmpty())))
    } catch (e: LinkageError) { // no LiteRT for this phone's processor
        complain(Notice(Problem.NO_RUNTIME, listOf(e.message.orEmpty())))
    } catch (e: LiteRtException) { // no environment for it; what a model throws is refused
        complain(Notice(Problem.NO_RUNTIME, listOf(e.message.orEmpty())))
    }

    private fun complain(notice: Notice) = state.update { it.copy(notices = it.notices + notice) }

    private fun loadAssets() {
        val catalog = Catalog.read(asset(Catalog.FILE).bufferedReader().use { it.readText() })
        for (name in catalog.models) attempt {
            withCopies(name, { asset("$name.tflite") }, { asset("$name.json") }, ::add)
        }
        samples = catalog.samples.map { it.file }
        val pictures = catalog.samples.map {
            SamplePicture(it.label, Preprocess.preview(decode { asset(it.file) }, PREVIEW_SIDE))
        }
        state.update { it.copy(samples = pictures) }
        if (samples.isNotEmpty()) classify { asset(samples.first()) }
    }

    /**
     * Lends two files with the content of two streams. LiteRT maps a file into memory, which holds
     * after the file is gone; an asset or a stream it could only have on the heap.
     */
    private fun withCopies(
        name: String,
        first: () -> InputStream,
        second: () -> InputStream,
        block: (File, File) -> Unit,
    ) {
        val folder = cache.resolve(UUID.randomUUID().toString())
        folder.mkdirs()
        try {
            val files = listOf(folder.resolve("$name.1"), folder.resolve("$name.2"))
            files.zip(listOf(first, second)) { file, open ->
                open().use { from -> file.outputStream().use { from.copyTo(it) } }
            }
            block(files[0], files[1])
        } finally {
            folder.deleteRecursively()
        }
    }

    private fun add(model: File, sidecar: File) {
        val bundle = ModelBundle.read(model, sidecar)
        val environment = environment ?: Environment.create().also { environment = it }
        classifiers += Classifier(bundle, environment)
        state.update { screen ->
            val taken = screen.rows.map { it.name }
            val names = sequenceOf(bundle.name) + generateSequence(2) { it + 1 }
                .map { "${bundle.name} ($it)" }
            val row = Row(names.first { it !in taken }, bundle.sizeBytes, bundle.accuracy)
            screen.copy(rows = screen.rows + row)
        }
    }

    private fun classify(open: () -> InputStream) = try {
        classifyWhole(open)
    } catch (e: OutOfMemoryError) { // one huge allocation that failed: nothing is broken
        throw DemoException(Problem.PICTURE_TOO_LARGE, cause = e)
    }

    private fun classifyWhole(open: () -> InputStream) {
        val picture = decoded(open)
        this.picture = open
        val preview = Preprocess.preview(picture, PREVIEW_SIDE)
        val pixels = mutableMapOf<List<Int>, ByteArray>() // models mostly share a shape
        val results = classifiers.map { classifier ->
            val bundle = classifier.bundle
            val seen = pixels.getOrPut(bundle.input.shape) {
                Preprocess.pixels(picture, bundle.height, bundle.width, bundle.channels)
            }
            topK(bundle.labels, classifier.logits(seen)) to
                Preprocess.raster(seen, bundle.height, bundle.width, bundle.channels)
        }
        state.update {
            val rows = it.rows.zip(results) { row, (answers, seen) ->
                row.copy(answers = answers, seen = seen)
            }
            it.copy(rows = rows, preview = preview)
        }
    }

    private fun decoded(open: () -> InputStream): Picture = try {
        decode(open)
    } catch (e: IOException) {
        throw DemoException(Problem.UNREADABLE_PICTURE, cause = e)
    } catch (e: RuntimeException) { // a decoder's, or the app's that offered it and took it back
        throw DemoException(Problem.UNREADABLE_PICTURE, cause = e)
    }

    private companion object {
        const val CHOSEN = "The chosen file" // begins a sentence
        const val PREVIEW_SIDE = 256 // pixels
    }
}
