# SPDX-License-Identifier: Apache-2.0
"""usage: layout.py WHEELS REPOSITORY: a repository of Triton's out of the ONNX files that Python wheels carry."""

import json
import pathlib
import shutil
import sys
import zipfile

HERE = pathlib.Path(__file__).parent
MAGIKA = "magika/models/standard_v3_3"
SILERO = ("silero_vad", "silero_vad/data/silero_vad.onnx")
# Model -> the wheel, its file, and the program around it.
MODELS = {
    "magika": ("magika", f"{MAGIKA}/model.onnx", "plain.py"),
    "ocr_cls": ("rapidocr_onnxruntime", "rapidocr_onnxruntime/models/ch_ppocr_mobile_v2.0_cls_infer.onnx", "plain.py"),
    "silero_vad": (*SILERO, "silero.py"),
    "silero_vad_sequence": (*SILERO, "silero.py"),
}


def main(wheels, repository):
    for name, (wheel, file, program) in MODELS.items():
        archive = zipfile.ZipFile(next(pathlib.Path(wheels).glob(f"{wheel}-*.whl")))
        model = pathlib.Path(repository) / name
        (model / "1").mkdir(parents=True)
        (model / "1/model.onnx").write_bytes(archive.read(file))
        shutil.copy(HERE / program, model / "1/model.py")
        shutil.copy(HERE / f"{name}.pbtxt", model / "config.pbtxt")
        if name == "magika":
            labels = json.loads(archive.read(f"{MAGIKA}/config.min.json"))["target_labels_space"]
            (model / "labels.txt").write_text("".join(f"{label}\n" for label in labels))


main(*sys.argv[1:])
