"""Every layer's output of a model file, as the runtime computes it, for a bundle's samples.

    tap(bundle, artifact="ticket-tflite-int8", path="taps.npz")     # on a device
    taps = open_taps("taps.npz")                                    # anywhere

A model file is tapped by naming its inner tensors as further outputs: a few bytes are appended to
it (`onnx_bytes`, `tflite_bytes`), so that a device needs no package that knows the format.
"""
