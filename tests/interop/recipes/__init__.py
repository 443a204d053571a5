# SPDX-License-Identifier: Apache-2.0
"""Real servers to test against: installed, started, stopped."""
