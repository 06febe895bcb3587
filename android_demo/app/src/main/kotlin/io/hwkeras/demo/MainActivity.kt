package io.hwkeras.demo

import android.app.Activity
import android.content.ActivityNotFoundException
import android.content.ClipData
import android.content.Intent
import android.graphics.Bitmap
import android.graphics.drawable.BitmapDrawable
import android.net.Uri
import android.os.Bundle
import android.provider.MediaStore
import android.text.format.Formatter
import android.view.View
import android.view.ViewGroup
import android.widget.Button
import android.widget.ImageButton
import android.widget.ImageView
import android.widget.ProgressBar
import android.widget.RadioButton
import android.widget.TextView
import io.hwkeras.demo.core.Answer
import io.hwkeras.demo.core.Problem
import io.hwkeras.demo.core.Raster
import java.io.FileNotFoundException
import java.io.IOException
import java.io.InputStream
import kotlin.math.roundToInt
import kotlinx.coroutines.MainScope
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/** Shows the [Session]'s screen and tells it what was tapped. */
class MainActivity : Activity() {
    private val scope = MainScope()
    private lateinit var session: Session

    override fun onCreate(savedInstanceState: Bundle?) {
        super.onCreate(savedInstanceState)
        setContentView(R.layout.main)
        session = lastNonConfigurationInstance as Session?
            ?: Session(cacheDir, applicationContext.assets::open, ::decode)
        onClick(R.id.photo) { choose(PHOTO, photoIntent()) }
        onClick(R.id.camera) { choose(CAMERA, cameraIntent()) }
        onClick(R.id.open) { choose(MODEL, modelIntent()) }
        onClick(R.id.measure) { session.measure() }
        scope.launch { session.screen.collect(::render) }
    }

    // What ViewModel is built on; this app does without androidx.
    override fun onRetainNonConfigurationInstance(): Any = session

    override fun onDestroy() {
        scope.cancel()
        if (!isChangingConfigurations) session.close()
        super.onDestroy()
    }

    override fun onActivityResult(requestCode: Int, resultCode: Int, data: Intent?) {
        if (resultCode != RESULT_OK) return
        val picked = data?.uris().orEmpty().map(::opener)
        when (requestCode) {
            PHOTO -> picked.firstOrNull()?.let(session::show)
            CAMERA -> PhotoProvider.file(this).let { photo -> session.show(photo::inputStream) }
            MODEL -> session.open(picked)
        }
    }

    private fun choose(request: Int, intent: Intent) = try {
        startActivityForResult(intent, request)
    } catch (_: ActivityNotFoundException) {
        session.report(Problem.NO_APP)
    }

    private fun photoIntent() = Intent(Intent.ACTION_GET_CONTENT) // the system's photo picker
        .setType("image/*")
        .addCategory(Intent.CATEGORY_OPENABLE)

    private fun modelIntent() = Intent(Intent.ACTION_OPEN_DOCUMENT)
        .setType("*/*") // no file type is registered for .tflite
        .addCategory(Intent.CATEGORY_OPENABLE)
        .putExtra(Intent.EXTRA_ALLOW_MULTIPLE, true)

    private fun cameraIntent(): Intent {
        val uri = PhotoProvider.uri(this)
        val intent = Intent(MediaStore.ACTION_IMAGE_CAPTURE).putExtra(MediaStore.EXTRA_OUTPUT, uri)
        intent.clipData = ClipData.newRawUri(null, uri) // the grant reaches only data and clips
        return intent.addFlags(Intent.FLAG_GRANT_WRITE_URI_PERMISSION)
    }

    private fun opener(uri: Uri): () -> InputStream {
        val resolver = applicationContext.contentResolver // outlives the activity
        return {
            try {
                resolver.openInputStream(uri)
            } catch (e: RuntimeException) { // whatever the app that offers the file throws
                throw IOException(e.message, e)
            } ?: throw FileNotFoundException("$uri")
        }
    }

    private fun render(screen: Screen) {
        val row = screen.rows.getOrNull(screen.selected)
        show(findViewById(R.id.preview), screen.preview)
        show(findViewById(R.id.seen), row?.seen)
        val answers = row?.answers.orEmpty()
        fill(findViewById(R.id.answers), R.layout.answer, answers.size) { view, i ->
            bindAnswer(view, answers[i])
        }
        findViewById<TextView>(R.id.asked).text = row?.let { getString(R.string.asked, it.name) }
        fill(findViewById(R.id.samples), R.layout.sample, screen.samples.size) { view, i ->
            bindSample(view as ImageButton, screen.samples[i], i)
        }
        fill(findViewById(R.id.rows), R.layout.row, screen.rows.size, first = 1) { view, i ->
            bindRow(view, screen.rows[i], i, i == screen.selected)
        }
        val notices = screen.notices.joinToString("\n") { notice ->
            getString(notice.sentence(), *notice.details.toTypedArray())
        }
        val status = findViewById<TextView>(R.id.status)
        status.text = screen.busy.firstOrNull()?.let { getString(it.sentence()) } ?: notices
        status.visibility = if (status.text.isEmpty()) View.GONE else View.VISIBLE
        for (id in intArrayOf(R.id.photo, R.id.camera, R.id.open, R.id.measure)) {
            findViewById<Button>(id).isEnabled = screen.busy.isEmpty()
        }
    }

    private fun bindSample(view: ImageButton, sample: SamplePicture, index: Int) {
        show(view, sample.raster)
        view.contentDescription = getString(R.string.sample, sample.label)
        view.setOnClickListener { session.showSample(index) }
    }

    private fun bindRow(view: View, row: Row, index: Int, selected: Boolean) {
        val none = getString(R.string.none)
        val size = Formatter.formatShortFileSize(this, row.sizeBytes)
        val accuracy = row.accuracy?.let { getString(R.string.percent, 100 * it) } ?: none
        val latency = row.latencyMs?.let { getString(R.string.milliseconds, it) } ?: none
        val answer = row.answers.firstOrNull()?.label ?: none
        view.findViewById<RadioButton>(R.id.name).apply {
            text = row.name
            contentDescription = getString(R.string.row, row.name, size, accuracy, latency, answer)
            isChecked = selected
            setOnClickListener { session.select(index) }
        }
        view.findViewById<TextView>(R.id.size).text = size
        view.findViewById<TextView>(R.id.accuracy).text = accuracy
        view.findViewById<TextView>(R.id.latency).text = latency
        view.findViewById<TextView>(R.id.answer).text = answer
    }

    private fun bindAnswer(view: View, answer: Answer) {
        val percent = getString(R.string.percent, 100 * answer.probability)
        view.findViewById<TextView>(R.id.label).text = answer.label
        view.findViewById<TextView>(R.id.percent).text = percent
        view.findViewById<ProgressBar>(R.id.bar).progress = (1000 * answer.probability).roundToInt()
        view.contentDescription = getString(R.string.answer, answer.label, percent)
    }

    /** Keeps the views that are there: a screen reader stays where it was. */
    private fun fill(
        parent: ViewGroup,
        layout: Int,
        count: Int,
        first: Int = 0,
        bind: (View, Int) -> Unit,
    ) {
        while (parent.childCount > first + count) parent.removeViewAt(first + count)
        while (parent.childCount < first + count) layoutInflater.inflate(layout, parent)
        for (i in 0 until count) bind(parent.getChildAt(first + i), i)
    }

    private fun show(view: ImageView, raster: Raster?) {
        if (view.tag === raster) return
        view.tag = raster
        view.setImageDrawable(raster?.let {
            val bitmap = Bitmap.createBitmap(it.argb, it.width, it.height, Bitmap.Config.ARGB_8888)
            BitmapDrawable(resources, bitmap).apply { isFilterBitmap = it.width >= SHARP_UNDER }
        })
    }

    private fun onClick(id: Int, action: () -> Unit) =
        findViewById<View>(id).setOnClickListener { action() }

    private fun Intent.uris(): List<Uri> {
        val clips = clipData ?: return listOfNotNull(data)
        return List(clips.itemCount) { clips.getItemAt(it).uri }
    }

    private companion object {
        const val PHOTO = 1
        const val CAMERA = 2
        const val MODEL = 3
        const val SHARP_UNDER = 64 // pixels: smaller pictures are shown as their pixels
    }
}

private fun Notice.sentence() = when (problem) {
    Problem.NO_MODELS -> R.string.no_models
    Problem.NO_RUNTIME -> R.string.no_runtime
    Problem.NOT_A_PAIR -> R.string.not_a_pair
    Problem.UNREADABLE_FILE -> R.string.unreadable_file
    Problem.NOT_A_MODEL -> R.string.not_a_model
    Problem.NOT_A_SIDECAR -> R.string.not_a_sidecar
    Problem.OTHER_MODEL -> R.string.other_model
    Problem.NOT_FOR_PICTURES -> R.string.not_for_pictures
    Problem.UNSUPPORTED_TYPE -> R.string.unsupported_type
    Problem.WRONG_LABELS -> R.string.wrong_labels
    Problem.WRONG_SHAPE -> R.string.wrong_shape
    Problem.REFUSED -> R.string.refused
    Problem.UNREADABLE_PICTURE -> R.string.unreadable_picture
    Problem.PICTURE_TOO_LARGE -> R.string.picture_too_large
    Problem.NO_APP -> R.string.no_app
}

private fun Busy.sentence() = when (this) {
    Busy.LOADING -> R.string.loading
    Busy.CLASSIFYING -> R.string.classifying
    Busy.MEASURING -> R.string.measuring
}
