package io.hwkeras.demo

import com.google.ai.edge.litert.JniHandle
import io.hwkeras.demo.core.Problem
import java.io.File
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream
import kotlinx.coroutines.flow.first
import kotlinx.coroutines.runBlocking
import kotlinx.coroutines.withTimeout
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertNull
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.BeforeEach
import org.junit.jupiter.api.Test
import org.junit.jupiter.api.io.TempDir

/** The app without its views, over the assets it ships and the models of this run. */
class SessionTest {
    @TempDir lateinit var cache: File

    private val assets = File("../app/src/main/assets")
    private val sessions = mutableListOf<Session>()
    private var before = 0

    @BeforeEach
    fun count() {
        before = JniHandle.open.get()
    }

    @AfterEach
    fun `every handle is closed and no file is left`() {
        sessions.forEach(Session::close)
        val threads = Thread.getAllStackTraces().keys
        threads.filter { it.name.startsWith("models") }.forEach { it.join(60_000) }
        assertEquals(before, JniHandle.open.get())
        assertEquals(emptyList<String>(), cache.list()?.toList())
    }

    @Test
    fun `starts with the models and the first sample`() {
        val screen = session().settled()
        val names = listOf("dense-float32", "slim-float32", "slim-int8")
        assertEquals(names, screen.rows.map { it.name })
        assertEquals((0..9).map { "$it" }, screen.samples.map { it.label })
        assertEquals(assets.resolve("slim-int8.tflite").length(), screen.rows[2].sizeBytes)
        assertTrue(screen.rows.all { it.accuracy!! > 0.95 && it.answers.size == 3 })
        assertNull(screen.rows[0].latencyMs)
        assertEquals(emptyList<Notice>(), screen.notices)
        assertEquals(8, screen.preview?.width)
    }

    @Test
    fun `every model knows nearly every sample`() {
        val session = session()
        var right = 0
        for (digit in 0..9) {
            session.showSample(digit)
            right += session.settled().rows.count { it.answers.first().label == "$digit" }
        }
        assertTrue(right >= 27, "$right of 30")
    }

    @Test
    fun `measures all models`() {
        val session = session()
        session.measure()
        val times = session.settled().rows.map { it.latencyMs }
        assertTrue(times.all { it != null && it > 0 })
    }

    @Test
    fun `opens a model in any order of its files, and names stay distinct`() {
        val session = session()
        val files = listOf(Exported.sidecar("colour-int8"), Exported.model("colour-int8"))
        session.open(files.map { it::inputStream })
        session.open(files.reversed().map { it::inputStream })
        val screen = session.settled()
        assertEquals(listOf("colour-int8", "colour-int8 (2)"), screen.rows.drop(3).map { it.name })
        assertEquals(4, screen.selected)
        assertEquals(3, screen.rows[4].answers.size)
        assertEquals(20, screen.rows[4].seen?.height)
        assertEquals(8, screen.rows[0].seen?.height)
    }

    @Test
    fun `a broken model is a sentence, and the others stay`() {
        val model = Exported.model("grey-float32")
        val sidecar = Exported.sidecar("grey-float32")
        val half = model.readBytes().let { it.copyOf(it.size / 2) }
        val cases = mapOf(
            listOf(model::inputStream) to Problem.NOT_A_PAIR,
            listOf(model::inputStream, model::inputStream) to Problem.NOT_A_SIDECAR,
            listOf(sidecar::inputStream, sidecar::inputStream) to Problem.NOT_A_MODEL,
            listOf(half::inputStream, sidecar::inputStream) to Problem.OTHER_MODEL,
            listOf(model::inputStream, "{}".toByteArray()::inputStream) to Problem.NOT_A_SIDECAR,
            listOf(model::inputStream, { throw IOException("gone") }) to Problem.UNREADABLE_FILE,
            listOf(model::inputStream, { throw SecurityException("taken back") }) to
                Problem.UNREADABLE_FILE,
        )
        for ((files, problem) in cases) {
            val session = session()
            session.open(files)
            val screen = session.settled()
            assertEquals(listOf(problem), screen.notices.map { it.problem })
            assertEquals(3, screen.rows.size)
            session.showSample(3)
            assertEquals(emptyList<Notice>(), session.settled().notices)
        }
    }

    @Test
    fun `a sentence does not name files that the user never saw`() {
        val session = session()
        val sidecar = Exported.sidecar("grey-float32")
        session.open(listOf(sidecar::inputStream, sidecar::inputStream))
        val notice = Notice(Problem.NOT_A_MODEL, listOf("The chosen file"))
        assertEquals(listOf(notice), session.settled().notices)
    }

    @Test
    fun `a broken asset is a sentence, and the others load`() {
        val screen = session { path ->
            val broken = path == "slim-float32.json"
            if (broken) "[".byteInputStream() else assets.resolve(path).inputStream()
        }.settled()
        assertEquals(listOf("dense-float32", "slim-int8"), screen.rows.map { it.name })
        assertEquals(listOf(Problem.NOT_A_SIDECAR), screen.notices.map { it.problem })
        assertEquals("slim-float32", screen.notices[0].details[0])
    }

    @Test
    fun `no assets are a sentence`() {
        val screen = session { throw FileNotFoundException(it) }.settled()
        val notice = Notice(Problem.UNREADABLE_FILE, listOf("bundles.json"))
        assertEquals(listOf(notice), screen.notices)
        assertEquals(emptyList<Row>(), screen.rows)
    }

    @Test
    fun `a broken picture is a sentence, and the last one stays`() {
        val session = session()
        val last = session.settled().preview
        val failures = mapOf<() -> InputStream, Problem>(
            { "no picture".byteInputStream() } to Problem.UNREADABLE_PICTURE,
            { throw SecurityException("taken back") } to Problem.UNREADABLE_PICTURE,
            { throw IllegalStateException("a decoder's") } to Problem.UNREADABLE_PICTURE,
            { throw OutOfMemoryError("a bitmap") } to Problem.PICTURE_TOO_LARGE,
        )
        for ((open, problem) in failures) {
            session.show(open)
            val screen = session.settled()
            assertEquals(listOf(problem), screen.notices.map { it.problem })
            assertEquals(last, screen.preview)
        }
    }

    @Test
    fun `shows a photo small and as the model sees it`() {
        val session = session()
        session.show(Exported.folder.resolve("pictures/photo.png")::inputStream)
        val screen = session.settled()
        assertEquals(256 to 192, screen.preview?.let { it.width to it.height })
        assertEquals(8 to 8, screen.rows[0].seen?.let { it.width to it.height })
    }

    @Test
    fun `closing in the middle of the work ends it`() {
        session().measure() // and `every handle is closed`, whatever had been opened by then
    }

    private fun session(
        asset: (String) -> InputStream = { assets.resolve(it).inputStream() },
    ) = Session(cache, asset, ::decodeImage).also { sessions += it }

    /** Returns the screen when all that was asked for is done. */
    private fun Session.settled() = runBlocking {
        withTimeout(60_000) { screen.first { it.busy.isEmpty() } }
    }
}
