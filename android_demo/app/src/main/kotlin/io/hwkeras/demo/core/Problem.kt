package io.hwkeras.demo.core

/** Why a model or a picture cannot be used; the screen has a sentence for each. */
enum class Problem {
    NO_MODELS,
    NO_RUNTIME,
    NOT_A_PAIR,
    UNREADABLE_FILE,
    NOT_A_MODEL,
    NOT_A_SIDECAR,
    OTHER_MODEL,
    NOT_FOR_PICTURES,
    UNSUPPORTED_TYPE,
    WRONG_LABELS,
    WRONG_SHAPE,
    REFUSED,
    UNREADABLE_PICTURE,
    PICTURE_TOO_LARGE,
    NO_APP,
}

/** Carries what the sentence names, in its order. */
class DemoException(
    val problem: Problem,
    vararg details: Any,
    cause: Throwable? = null,
) : Exception("$problem ${details.joinToString()}", cause) {
    val details: List<String> = details.map(Any::toString)
}
