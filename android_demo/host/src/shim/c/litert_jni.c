/* What the AAR's native half does for the classes in ../kotlin, over the runtime of the
 * ai-edge-litert wheel: enough of LiteRT's C API (litert/c, version 2.3) for one signature on the
 * CPU. The wheel carries no headers, so the functions used are declared here. */

#include <jni.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, INVALID_ARGUMENT = 1, RUNTIME_FAILURE = 3, NOT_FOUND = 6 };
enum { CPU = 1, READ = 0, WRITE = 1 };
enum { MIN_LOGGER_SEVERITY = 25, INTEGER = 2, ERROR = 3 };

typedef int Status;
typedef void* Handle;

typedef struct {
  int element;
  unsigned rank : 7, has_strides : 1;
  int32_t dimensions[8];
  uint32_t strides[8];
} TensorType;

typedef struct {
  int tag;
  struct {
    int type;
    int64_t value;
  } any;
} Option;

Status LiteRtCreateEnvironment(int count, const Option* options, Handle* environment);
void LiteRtDestroyEnvironment(Handle environment);
Status LiteRtCreateModelFromFile(Handle environment, const char* path, Handle* model);
void LiteRtDestroyModel(Handle model);
Status LiteRtGetModelSignature(Handle model, size_t index, Handle* signature);
Status LiteRtGetNumSignatureInputs(Handle signature, size_t* count);
Status LiteRtGetNumSignatureOutputs(Handle signature, size_t* count);
Status LiteRtGetSignatureInputName(Handle signature, size_t index, const char** name);
Status LiteRtGetSignatureOutputName(Handle signature, size_t index, const char** name);
Status LiteRtGetSignatureInputTensorByIndex(Handle signature, size_t index, Handle* tensor);
Status LiteRtGetSignatureOutputTensorByIndex(Handle signature, size_t index, Handle* tensor);
Status LiteRtGetRankedTensorType(Handle tensor, TensorType* type);
Status LiteRtCreateOptions(Handle* options);
void LiteRtDestroyOptions(Handle options);
Status LiteRtSetOptionsHardwareAccelerators(Handle options, int accelerators);
Status LiteRtCreateOpaqueOptions(const char* kind, void* payload, void (*release)(void*),
                                 Handle* options);
Status LiteRtAddOpaqueOptions(Handle options, Handle opaque);
Status LiteRtCreateCompiledModel(Handle environment, Handle model, Handle options, Handle* made);
void LiteRtDestroyCompiledModel(Handle compiled);
Status LiteRtGetCompiledModelInputBufferRequirements(Handle compiled, size_t signature,
                                                     size_t index, Handle* requirements);
Status LiteRtGetCompiledModelOutputBufferRequirements(Handle compiled, size_t signature,
                                                      size_t index, Handle* requirements);
Status LiteRtGetTensorBufferRequirementsBufferSize(Handle requirements, size_t* size);
Status LiteRtCreateManagedTensorBufferFromRequirements(Handle environment, const TensorType* type,
                                                       Handle requirements, Handle* buffer);
Status LiteRtGetTensorBufferPackedSize(Handle buffer, size_t* size);
Status LiteRtLockTensorBuffer(Handle buffer, void** address, int mode);
Status LiteRtUnlockTensorBuffer(Handle buffer);
void LiteRtDestroyTensorBuffer(Handle buffer);
Status LiteRtRunCompiledModel(Handle compiled, size_t signature, size_t input_count,
                              Handle* inputs, size_t output_count, Handle* outputs);

typedef struct {
  Handle environment, model, compiled, signature;
} Compiled;

#define JNI(type, name) JNIEXPORT type JNICALL Java_com_google_ai_edge_litert_##name

/* Throws LiteRtException unless `status` is OK; returns whether it is. */
static int check(JNIEnv* env, Status status, const char* what) {
  if (status == OK) return 1;
  jclass kind = (*env)->FindClass(env, "com/google/ai/edge/litert/LiteRtException");
  jmethodID make = (*env)->GetMethodID(env, kind, "<init>", "(ILjava/lang/String;)V");
  jstring message = (*env)->NewStringUTF(env, what);
  (*env)->Throw(env, (*env)->NewObject(env, kind, make, (jint)status, message));
  return 0;
}

JNI(jlong, Environment_nativeCreate)(JNIEnv* env, jclass self) {
  Option quiet = {MIN_LOGGER_SEVERITY, {INTEGER, ERROR}};
  Handle environment = NULL;
  check(env, LiteRtCreateEnvironment(1, &quiet, &environment), "Failed to create an environment");
  return (jlong)environment;
}

JNI(void, Environment_nativeDestroy)(JNIEnv* env, jclass self, jlong handle) {
  LiteRtDestroyEnvironment((Handle)handle);
}

static Status cpu_options(int threads, Handle* options) {
  Status status = LiteRtCreateOptions(options);
  if (status == OK) status = LiteRtSetOptionsHardwareAccelerators(*options, CPU);
  if (status != OK || threads == 0) return status;
  char* toml = malloc(32); /* how the C API hands over the options of the CPU */
  snprintf(toml, 32, "num_threads = %d\n", threads);
  Handle opaque;
  status = LiteRtCreateOpaqueOptions("xnnpack", toml, free, &opaque);
  return status == OK ? LiteRtAddOpaqueOptions(*options, opaque) : status;
}

static void destroy(Compiled* made) {
  if (made->compiled) LiteRtDestroyCompiledModel(made->compiled);
  if (made->model) LiteRtDestroyModel(made->model);
  free(made);
}

JNI(jlong, CompiledModel_nativeCreateFromFile)
(JNIEnv* env, jclass self, jlong environment, jstring path, jint threads) {
  Compiled* made = calloc(1, sizeof *made);
  made->environment = (Handle)environment;
  const char* name = (*env)->GetStringUTFChars(env, path, NULL);
  Status status = LiteRtCreateModelFromFile(made->environment, name, &made->model);
  (*env)->ReleaseStringUTFChars(env, path, name);
  Handle options = NULL;
  if (status == OK) status = LiteRtGetModelSignature(made->model, 0, &made->signature);
  if (status == OK) status = cpu_options(threads, &options);
  if (status == OK)
    status = LiteRtCreateCompiledModel(made->environment, made->model, options, &made->compiled);
  if (options) LiteRtDestroyOptions(options);
  if (check(env, status, "Failed to create a compiled model")) return (jlong)made;
  destroy(made);
  return 0;
}

JNI(void, CompiledModel_nativeDestroy)(JNIEnv* env, jclass self, jlong handle) {
  destroy((Compiled*)handle);
}

static Status requirements_of(Compiled* made, int input, size_t index, Handle* requirements) {
  return input ? LiteRtGetCompiledModelInputBufferRequirements(made->compiled, 0, index,
                                                               requirements)
               : LiteRtGetCompiledModelOutputBufferRequirements(made->compiled, 0, index,
                                                                requirements);
}

JNI(jlongArray, CompiledModel_nativeCreateBuffers)
(JNIEnv* env, jclass self, jlong handle, jboolean input) {
  Compiled* made = (Compiled*)handle;
  size_t count = 0;
  Status status = input ? LiteRtGetNumSignatureInputs(made->signature, &count)
                        : LiteRtGetNumSignatureOutputs(made->signature, &count);
  jlong buffers[16] = {0};
  if (status == OK && count > 16) status = INVALID_ARGUMENT;
  for (size_t i = 0; status == OK && i < count; i++) {
    Handle tensor, requirements;
    TensorType type;
    status = input ? LiteRtGetSignatureInputTensorByIndex(made->signature, i, &tensor)
                   : LiteRtGetSignatureOutputTensorByIndex(made->signature, i, &tensor);
    if (status == OK) status = LiteRtGetRankedTensorType(tensor, &type);
    if (status == OK) status = requirements_of(made, input, i, &requirements);
    if (status == OK)
      status = LiteRtCreateManagedTensorBufferFromRequirements(
          made->environment, &type, requirements, (Handle*)&buffers[i]);
  }
  if (!check(env, status, "Failed to create tensor buffers")) {
    for (size_t i = 0; i < 16; i++)
      if (buffers[i]) LiteRtDestroyTensorBuffer((Handle)buffers[i]);
    return NULL;
  }
  jlongArray result = (*env)->NewLongArray(env, count);
  (*env)->SetLongArrayRegion(env, result, 0, count, buffers);
  return result;
}

JNI(jint, CompiledModel_nativeBufferSize)
(JNIEnv* env, jclass self, jlong handle, jstring name, jboolean input) {
  Compiled* made = (Compiled*)handle;
  const char* wanted = (*env)->GetStringUTFChars(env, name, NULL);
  size_t count = 0, index = 0, size = 0;
  Status status = input ? LiteRtGetNumSignatureInputs(made->signature, &count)
                        : LiteRtGetNumSignatureOutputs(made->signature, &count);
  for (; status == OK && index < count; index++) {
    const char* found;
    status = input ? LiteRtGetSignatureInputName(made->signature, index, &found)
                   : LiteRtGetSignatureOutputName(made->signature, index, &found);
    if (status == OK && strcmp(found, wanted) == 0) break;
  }
  if (status == OK && index == count) status = NOT_FOUND;
  (*env)->ReleaseStringUTFChars(env, name, wanted);
  Handle requirements;
  if (status == OK) status = requirements_of(made, input, index, &requirements);
  if (status == OK) status = LiteRtGetTensorBufferRequirementsBufferSize(requirements, &size);
  check(env, status, "Failed to find the tensor");
  return (jint)size;
}

JNI(void, CompiledModel_nativeRun)
(JNIEnv* env, jclass self, jlong handle, jlongArray inputs, jlongArray outputs) {
  jlong* in = (*env)->GetLongArrayElements(env, inputs, NULL);
  jlong* out = (*env)->GetLongArrayElements(env, outputs, NULL);
  Status status = LiteRtRunCompiledModel(
      ((Compiled*)handle)->compiled, 0, (*env)->GetArrayLength(env, inputs), (Handle*)in,
      (*env)->GetArrayLength(env, outputs), (Handle*)out);
  (*env)->ReleaseLongArrayElements(env, inputs, in, JNI_ABORT);
  (*env)->ReleaseLongArrayElements(env, outputs, out, JNI_ABORT);
  check(env, status, "Failed to run the model");
}

/* Copies between a Java array and a buffer. Like the AAR's, a write may be shorter than the
 * buffer, and is refused if it is longer. */
static void copy(JNIEnv* env, jlong handle, jarray array, size_t element, int mode) {
  size_t bytes = (*env)->GetArrayLength(env, array) * element, size = 0;
  Status status = LiteRtGetTensorBufferPackedSize((Handle)handle, &size);
  if (status == OK && bytes > size) status = RUNTIME_FAILURE;
  void* address;
  if (status == OK) status = LiteRtLockTensorBuffer((Handle)handle, &address, mode);
  if (!check(env, status, "Failed to lock the tensor buffer")) return;
  void* elements = (*env)->GetPrimitiveArrayCritical(env, array, NULL);
  memcpy(mode == WRITE ? address : elements, mode == WRITE ? elements : address, bytes);
  (*env)->ReleasePrimitiveArrayCritical(env, array, elements, mode == WRITE ? JNI_ABORT : 0);
  LiteRtUnlockTensorBuffer((Handle)handle);
}

static jint size_of(JNIEnv* env, jlong handle, size_t element) {
  size_t size = 0;
  check(env, LiteRtGetTensorBufferPackedSize((Handle)handle, &size), "No tensor buffer");
  return (jint)(size / element);
}

JNI(void, TensorBuffer_nativeWriteFloat)(JNIEnv* env, jclass self, jlong handle, jfloatArray data) {
  copy(env, handle, data, 4, WRITE);
}

JNI(void, TensorBuffer_nativeWriteInt8)(JNIEnv* env, jclass self, jlong handle, jbyteArray data) {
  copy(env, handle, data, 1, WRITE);
}

JNI(jfloatArray, TensorBuffer_nativeReadFloat)(JNIEnv* env, jclass self, jlong handle) {
  jfloatArray data = (*env)->NewFloatArray(env, size_of(env, handle, 4));
  copy(env, handle, data, 4, READ);
  return data;
}

JNI(jbyteArray, TensorBuffer_nativeReadInt8)(JNIEnv* env, jclass self, jlong handle) {
  jbyteArray data = (*env)->NewByteArray(env, size_of(env, handle, 1));
  copy(env, handle, data, 1, READ);
  return data;
}

JNI(void, TensorBuffer_nativeDestroy)(JNIEnv* env, jclass self, jlong handle) {
  LiteRtDestroyTensorBuffer((Handle)handle);
}
