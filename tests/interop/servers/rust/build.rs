// SPDX-License-Identifier: Apache-2.0
fn main() {
    tonic_prost_build::compile_protos("proto/inference.proto").unwrap();
}
