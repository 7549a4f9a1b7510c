"""Detectron2 v0.6 whose training repeats bit for bit: a run is a function of its data, configuration and seed.

For whoever trains Detectron2's Mask R-CNN or PointRend and must be able to kill and resume a run, or to change the
number of loader workers, and get the same weights; or to divide a batch, and get the same up to rounding.

``stream``: which sample comes when. ``mapper``, ``label_masks``: from files to model input. ``sampling``: the model,
which draws with seeds for each image, and can ignore instances. ``trainer``: a batch divided among processes and into
parts. ``weights``: checkpoints that are complete or absent. ``stopping``: SIGTERM. ``numerics``: precision and
determinism. ``backbone``, ``roi_align``: fast on a CPU. All but ``trainer`` work with any Detectron2 trainer::

    from seeded_rcnn import mapper, sampling, stream  # importing makes the classes known to Detectron2

    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.PROPOSAL_GENERATOR.NAME = "SeededRCNN", "SeededRPN"
    cfg.MODEL.ROI_HEADS.NAME, cfg.MODEL.ROI_MASK_HEAD.NAME = "SeededROIHeads", "NegativesMaskHead"
    to_sample = mapper.InstanceMapper(build_augmentation(cfg, is_train=True), cfg.INPUT.FORMAT)
    samples = stream.TrainingSamples(images, instances, to_sample, seed=0)  # image and instance table of `scapes`
    loader = DataLoader(samples, batch_sampler=stream.batches(0, 1000, batch_size=8), collate_fn=list)
"""
