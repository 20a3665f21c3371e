"""Objectives over pairs of examples: the area under the ROC curve, trained without raw scores leaving a device. Pure.

A model gives each example x one score h(x); AUC is the chance that a positive scores higher than a negative. Two
surrogates of it, and cross-entropy to compare them with:

* ``auc-minimax:P``  squared pairs as a saddle point, P the fleet's share of positives (`auc_minimax`): three numbers
  travel beside the model.
* ``pairwise``       squared hinge over pairs of one device's examples with everybody's (`pairwise`): score
  histograms travel beside the model (`histogram`).
* ``cross-entropy``  the logistic loss: nothing travels beside the model.

Device: `local`; server: `server`. Numpy trainers: `gossamer.agent.auc_trainer`; torch: `torch_loss`.
On linear scores neither beat cross-entropy at convergence in what was tried; after 24 rounds they were up to .0026
ahead.
"""

from __future__ import annotations
